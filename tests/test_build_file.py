"""BUILD keeps up with the sources: Bazel itself would not miss a file that no target names."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def targets():
    """The targets of BUILD by name, each a dictionary of its attributes and its `kind`.

    Starlark is a subset of Python: reading the file is calling functions of our own.
    """
    found = {}

    def rule(kind):
        def add(name, **attributes):
            found[name] = {"kind": kind, "srcs": [], "deps": [], **attributes}

        return add

    def glob(include, exclude=(), **_):
        matches = {path for pattern in include for path in ROOT.glob(pattern)}
        matches -= {path for pattern in exclude for path in ROOT.glob(pattern)}
        return sorted(str(path.relative_to(ROOT)) for path in matches)

    names = {kind: rule(kind) for kind in ("py_library", "py_binary", "py_test")}
    text = (ROOT / "BUILD").read_text(encoding="utf-8")
    ignored = {name: lambda *_, **__: None for name in ("load", "package")}
    exec(compile(text, "BUILD", "exec"), {**names, **ignored, "glob": glob})
    return found


def sources(folder, pattern="*.py"):
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern))


def imported(source):
    """Files of this project that a file of it imports."""

    def files(module):
        stem = ROOT.joinpath(*module.split("."))
        return [file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.exists()]

    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [files(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [files(f"{node.module}.{a.name}") or files(node.module) for a in node.names]
        else:
            continue
        for file in sum(found, []):
            yield str(file.relative_to(ROOT))


@pytest.mark.parametrize("folder", ["keras_imaml", "trainers"])
def test_every_module_is_in_one_library(targets, folder):
    for source in sources(folder):
        owners = [
            name
            for name, target in targets.items()
            if target["kind"] == "py_library" and source in target["srcs"]
        ]
        assert len(owners) == 1, f"{source} is in the srcs of {owners or 'no py_library'} in BUILD"


def check_targets(targets, kind, expected):
    """`expected` holds, by name, the text of the target and the files that it must name."""
    missing = [text for name, (text, _) in expected.items() if name not in targets]
    assert not missing, "Add to BUILD:\n\n" + "\n".join(missing)
    for name, (_, files) in expected.items():
        assert targets[name]["kind"] == kind
        assert set(files) <= set(targets[name]["srcs"])


def test_every_program_has_a_binary(targets):
    expected = {}
    for source in sources("trainers"):
        if "if __name__ ==" in (ROOT / source).read_text(encoding="utf-8"):
            name = source.removesuffix(".py")
            text = f"""py_binary(
    name = "{name}",
    srcs = ["{source}"],
    deps = [":trainers"],
)
"""
            expected[name] = text, [source]
    check_targets(targets, "py_binary", expected)


def test_every_test_file_has_a_target(targets):
    expected = {}
    for source in sources("tests", "test_*.py"):
        name = source.removesuffix(".py")
        first, second = sorted([source, "tests/run_pytest.py"])
        text = f"""py_test(
    name = "{name}",
    srcs = [
        "{first}",
        "{second}",
    ],
    main = "tests/run_pytest.py",
    deps = [":tests/support"],
)
"""
        expected[name] = text, [source]
    check_targets(targets, "py_test", expected)
    assert all(targets[name]["main"] == "tests/run_pytest.py" for name in expected)


def test_no_target_outlives_its_file(targets):
    for name, target in targets.items():
        for source in target["srcs"]:
            assert (ROOT / source).exists(), f"{name} in BUILD names {source}, which is gone"


def test_targets_depend_on_what_they_import(targets):
    def provided(name):
        target = targets[name.removeprefix(":")]
        return {*target["srcs"]}.union(*map(provided, target["deps"]))

    missing = [
        f"{name} needs {file}, imported by {source}"
        for name, target in targets.items()
        for source in target["srcs"]
        for file in {*imported(source)} - provided(name)
    ]
    assert not missing, "deps or srcs are missing in BUILD:\n\n" + "\n".join(sorted(missing))
