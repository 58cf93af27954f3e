"""The floors of the package, its imports, and a drawing of both.

    python -m tests.architecture

draws `docs/images/architecture.svg`.
"""

import ast
import functools
import html
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_imaml"
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
FLOORS = [  # A folder imports from its own floor and from the floors below it.
    ("callbacks", "pretrained"),
    ("learner",),
    ("recipes", "export"),
    ("algorithms",),
    ("inner", "curvature"),
    ("objectives",),
    ("batching", "models"),
    ("meta_parameters", "layers", "linear", "data", "distribution"),
    ("_utils",),
    ("_compat",),
]
CONTENTS = {
    "pretrained": "trained learners by name",
    "callbacks": "checkpoints, dashboard, signals",
    "learner": "MetaLearner: fit, adapt, evaluate",
    "recipes": "strong few-shot features",
    "export": "SavedModels, adapted models",
    "algorithms": "iMAML, MAML, Reptile: meta-gradients",
    "inner": "solvers of the inner problem",
    "curvature": "Hessian, Gauss-Newton",
    "distribution": "cores, devices, machines",
    "objectives": "tasks, losses, inner problem",
    "batching": "one network, weights of many tasks",
    "models": "Conv4, ResNet12, MLP",
    "meta_parameters": "theta, lambda, step sizes",
    "layers": "layers that know tasks",
    "linear": "conjugate gradient, dual, ...",
    "data": "few-shot episodes",
    "_utils": "validation, vectors, progress bar",
    "_compat": "insides of TensorFlow and Keras",
}
_INSIDES = ("keras.src", "tensorflow.python", "tensorboard.compat")
MODULES = {
    ".".join(("keras_imaml", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
}


def imported_modules(path: pathlib.Path) -> Iterator[str]:
    """The modules of the package that a file imports; a re-exporting folder counts by its name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_imaml"):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


def private_touches(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that use what TensorFlow and Keras keep to themselves, and what."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_INSIDES):
            yield node.lineno, str(node.module)
        elif isinstance(node, ast.Attribute) and _is_theirs(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            name = getattr(node.args[1], "value", "")
            if isinstance(name, str) and _is_theirs(name):
                yield node.lineno, name


def _is_theirs(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in _own_names()


@functools.cache
def _own_names() -> set[str]:
    """Private names that this package defines, and those of named tuples."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    defined = re.compile(r"def (_\w+)\(|self\.(_\w+)(?:: [^=\n]+)? = |^    (_\w+): ", re.MULTILINE)
    names = {name for source in sources for match in defined.findall(source) for name in match}
    return names | {"_replace", "_fields", "_asdict", "_compat", "_utils"}


def folder(module: str) -> str:
    """The folder of a module, such as `inner` for `keras_imaml.inner.adam`."""
    return module.split(".")[1]


def arrows() -> set[tuple[str, str]]:
    """Pairs of folders of which the first imports from the second."""
    pairs = {
        (folder(name), folder(target))
        for name, path in MODULES.items()
        for target in imported_modules(path)
        if name.count(".") > 1 and "." in target
    }
    return {(a, b) for a, b in pairs if a != b and b in CONTENTS}


def drawing() -> str:
    """The floors as an SVG, without arrows to `_utils` and `_compat`, which serve everyone."""
    width, height, gap_x, gap_y = 224, 52, 18, 40
    columns = max(map(len, FLOORS))
    total = columns * (width + gap_x) + gap_x
    corners = {}
    for row, names in enumerate(FLOORS):
        left = (total - len(names) * (width + gap_x) + gap_x) / 2
        for column, name in enumerate(names):
            corners[name] = (left + column * (width + gap_x), gap_y / 2 + row * (height + gap_y))
    bottom = gap_y / 2 + len(FLOORS) * (height + gap_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {bottom:.0f}" role="img" '
        'aria-label="Folders of keras_imaml and their imports" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#78909c"/></marker></defs>',
        f'<rect width="{total}" height="{bottom:.0f}" fill="#ffffff"/>',
    ]
    for source, target in sorted(arrows()):
        if target in ("_utils", "_compat"):
            continue
        (x1, y1), (x2, y2) = corners[source], corners[target]
        start, end = (x1 + width / 2, y1 + height), (x2 + width / 2, y2)
        if y1 == y2:  # on one floor: from side to side
            side = width if x2 > x1 else 0
            start, end = (x1 + side, y1 + height / 2), (x2 + width - side, y2 + height / 2)
        parts.append(
            f'<path d="M{start[0]:.0f} {start[1]:.0f}L{end[0]:.0f} {end[1]:.0f}" '
            'stroke="#b0bec5" fill="none" marker-end="url(#tip)"/>'
        )
    for name, (x, y) in corners.items():
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="6" '
            'fill="#eef4fb" stroke="#3f6ea8"/>'
            f'<text x="{x + width / 2:.0f}" y="{y + 21:.0f}" text-anchor="middle" '
            f'font-size="15" font-weight="bold" fill="#17324d">{name}/</text>'
            f'<text x="{x + width / 2:.0f}" y="{y + 40:.0f}" text-anchor="middle" '
            f'font-size="11.5" fill="#37474f">{html.escape(CONTENTS[name])}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
    print(f"Drawn: {DRAWING.relative_to(ROOT)}")
