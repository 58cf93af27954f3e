"""What is known of each learner that comes with the package: its data, recipe and accuracy."""

import json
import pathlib
from typing import Any

from keras_imaml._utils.validation import check_choice

FOLDER = pathlib.Path(__file__).parent / "files"
NAMES = ("glyphs", "mini_imagenet", "omniglot", "sinusoid")
"""Of the learners that `keras_imaml.load` makes."""


def card(name: str) -> dict[str, Any]:
    """The card of a learner that comes with the package.

    Args:
        name: `"glyphs"`, `"mini_imagenet"`, `"omniglot"` or `"sinusoid"`.

    Returns:
        A dictionary with the keys `title`, `inputs`, `data`, `network`, `recipe` (commands),
        `accuracy` (a text for each kind of task), `limits` and `license`.

    Example:

    ```python
    ki.pretrained.card("omniglot")["accuracy"]["5-way 1-shot"]
    ```
    """
    check_choice("name", name, NAMES)
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def table() -> list[str]:
    """All cards for a terminal, a line each."""
    lines = []
    for name in NAMES:
        facts = card(name)
        size = (FOLDER / f"{name}.npz").stat().st_size
        lines += [f"{name}  ({size / 1000:.0f} kB)", f"  {facts['title']}"]
        for key in ("inputs", "data", "network"):
            lines.append(f"  {key + ':':<10}{facts[key]}")
        for number, (task, value) in enumerate(facts["accuracy"].items()):
            lines.append(f"  {'accuracy:' if number == 0 else '':<10}{task}: {value}")
        lines += [f"  {'limits:':<10}{facts['limits']}", f"  {'license:':<10}{facts['license']}"]
        for number, command in enumerate(facts["recipe"]):
            lines.append(f"  {'recipe:' if number == 0 else '':<10}{command}")
        lines.append("")
    return [*lines, 'Load one: keras_imaml.load("omniglot", classes=5)']
