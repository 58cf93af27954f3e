"""The pages of reference that are made from the code: flags of the trainers, and presets.

    python -m docs.reference

writes docs/command-line.md, docs/learners.md and docs/presets.md.
"""

import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterable, Iterator

from benchmarks.cost.presets import read
from keras_imaml.pretrained.cards import FOLDER, NAMES, card
from trainers import adapt, evaluate, export, parsing, train
from trainers.arguments import Argument, as_text
from trainers.command_line import Program
from trainers.components import CHOICES

ROOT = pathlib.Path(__file__).parents[1]
PRESETS = ROOT / "trainers" / "presets"
COSTS = ROOT / "benchmarks" / "results" / "presets.csv"
PROGRAMS = {"train": train, "evaluate": evaluate, "adapt": adapt, "export": export}
_BEGIN, _END = "<!-- table reference: begin -->", "<!-- table reference: end -->"


def command_line() -> str:
    """The page of all flags."""
    parts = [
        "# Command-line flags",
        "The programs are `python -m trainers.train`, `trainers.evaluate`, `trainers.adapt` and "
        "`trainers.export`, or\n`keras-imaml train`, and so on. `--help` shows the flags of a "
        "command, `--helpfull` those of every component. A flag\nfile is given by "
        "`--flagfile=FILE`. [Presets](presets.md) are such files, and `--preset=NAME` takes one.",
        "Each run has six components: `--data`, `--model`, `--algorithm`, `--inner`, `--linear` "
        "and `--outer`. Choose one by\nname, and set the arguments of its constructor by "
        "`--component.argument=value`. A name such as `my_module.MySolver`\nis a class or "
        "function of your own. A range is two numbers with a comma: `--data.shot=1,10`.",
        _BEGIN,
        "## Programs",
    ]
    for name, module in PROGRAMS.items():
        parts += [f"### trainers.{name}", _first_line(module.PROGRAM)]
        own_arguments = parsing.own_arguments(module.PROGRAM).values()
        parts.append(_table("", [parsing.RUN_DIR, *own_arguments]))
    parts += ["## Settings of a run", _table("", parsing.PLAIN.values())]
    parts.append("## Components")
    for part, choice in CHOICES.items():
        names = ", ".join(f"`{name}`" for name in choice.names)
        parts += [
            f"### --{part}",
            textwrap.fill(f"{choice.help} One of {names}.", 120, break_on_hyphens=False),
        ]
        for option in choice.options:
            arguments = choice.arguments(option)
            if arguments:
                parts += [f"#### --{part}={option}", _table(f"{part}.", arguments.values())]
    parts += ["## Machine", _table("", [*parsing.MACHINE.values(), parsing.DEBUG]), _END]
    return "\n\n".join(parts) + "\n"


def presets() -> str:
    """The page of all presets, with what their steps cost."""
    costs = read(COSTS)
    rows = []
    for path in sorted(PRESETS.rglob("*.flags"), key=lambda path: (len(path.parts), path)):
        name = str(path.relative_to(PRESETS))[: -len(".flags")]
        text = path.read_text(encoding="utf-8")
        steps = re.search(r"^--steps=(\d+)$", text, re.MULTILINE)
        number = int(steps[1]) if steps else 1000
        cost = costs.get(name)
        figures = ["", "", ""]
        if cost:
            second = float(cost["cpu_seconds_a_step"])
            figures = [f"{second:.2f}", _hours(number * second), cost["gib"]]
        link = f"[{name}](../trainers/presets/{name}.flags)"
        rows.append(f"| {link} | {_purpose(text)} | {number} | {' | '.join(figures)} |")
    return (
        "\n\n".join(
            [
                "# Presets",
                "A preset is a flag file:",
                "    python -m trainers.train --run_dir=runs/glyphs_5way_1shot \\\n"
                "        --flagfile=trainers/presets/glyphs_5way_1shot.flags",
                "`python -m benchmarks.cost.presets --data_dir=DIR` measures processor seconds per "
                "meta-step and the most memory of\nthe process, with the data in it. **Total** is "
                "seconds per step times steps: divide it by your cores for a first guess\nof the "
                "time. Validation, logs and the first step, which builds a graph, come on top. "
                "Measured on two shared cores of\nCPUs with and without AVX-512. Where "
                "`mixed_bfloat16` is set, a CPU with its instructions is much faster.",
                _BEGIN,
                "\n".join(
                    [
                        "| preset | what for | steps | CPU s per step | total | GiB |",
                        "|---|---|---|---|---|---|",
                        *rows,
                    ]
                ),
                _END,
            ]
        )
        + "\n"
    )


def learners() -> str:
    """The page of the learners that come with the package."""
    parts = [
        "# Learners that load by name",
        "Each is a file below 1 MB in the wheel. It adapts, trains on, and is exported:",
        "```python\nimport keras_imaml as ki\nimport numpy as np\n\n"
        'images = ki.data.load_images(["cat.jpg", "dog.jpg", "fox.jpg"], image_size=64)\n'
        'model = ki.load("mini_imagenet", classes=3).adapt(images, np.arange(3))\n'
        'print(model.predict(ki.data.load_images(["who.jpg"], image_size=64)).argmax())\n```',
        "From the shell, without Python: [your photographs in two commands]"
        "(demo.md#your-photographs-in-two-commands).\n`python -m keras_imaml --learners` prints "
        "these cards.",
        _BEGIN,
    ]
    for name in NAMES:
        facts = card(name)
        rows = ["| | |", "|---|---|"]
        rows += [f"| {key} | {facts[key]} |" for key in ("inputs", "data", "network")]
        rows += [f"| {task} | {value} |" for task, value in facts["accuracy"].items()]
        rows += [f"| {key} | {facts[key]} |" for key in ("limits", "license")]
        size = (FOLDER / f"{name}.npz").stat().st_size
        parts += [f"## {name}", f"{facts['title']}. {size / 1000:.0f} kB.", "\n".join(rows)]
        parts.append("\n".join(f"    {command}" for command in facts["recipe"]))
    parts += [
        _END,
        "Accuracies are of tasks with test classes, non-transductive, ± half the 95 % interval. "
        "Weights are float16 (sine waves:\nfloat32). The script refuses to write them where they "
        "lose more than that against float32.",
    ]
    return "\n\n".join(parts) + "\n"


PAGES = {"command-line.md": command_line, "learners.md": learners, "presets.md": presets}


def _first_line(program: Program) -> str:
    return (inspect.getdoc(program.function) or "").splitlines()[0]


def _table(prefix: str, arguments: Iterable[Argument]) -> str:
    return "\n".join(["| flag | default | meaning |", "|---|---|---|", *_rows(prefix, arguments)])


def _rows(prefix: str, arguments: Iterable[Argument]) -> Iterator[str]:
    for argument in arguments:
        if argument.required:
            default = "required"
        else:
            default = "" if argument.default is None else f"`{as_text(argument.default)}`"
        meaning = " ".join(argument.help.split()).replace("|", "\\|")
        yield f"| `--{prefix}{argument.name}` | {default} | {meaning} |"


def _purpose(text: str) -> str:
    """The comment at the head of a flag file, its first sentence."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return re.split(r"\. |\.$", " ".join(lines))[0]


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.0f}\u00a0h"


if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
        print(f"Written: docs/{name}")
