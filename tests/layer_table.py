"""The tables of docs/layers.md, made from the lists that the tests go through.

python -m tests.layer_table
"""

import pathlib
from collections.abc import Callable
from typing import Any

from keras import layers

from tests import refusals
from tests.batching import keras_layers, random_layers

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "layers.md"
_MARKS = "<!-- table {}: begin -->", "<!-- table {}: end -->"


def table() -> str:
    """A row for each layer: how the tasks of a meta-batch are computed."""
    rows: dict[str, str] = {}
    for _, make in keras_layers.VECTORIZED.values():
        rows.setdefault(_name(make("float32")), "exact, all tasks at once")
    for _, make in keras_layers.LOOPS.values():
        rows.setdefault(_name(make("float32")), "exact, one task after the other")
    for _, make in {**random_layers.QUICK, **random_layers.SLOW}.values():
        name = _name(make())
        text = "own random numbers for each task"
        rows[name] = f"{rows[name]}; {text}" if name in rows else text
    lines = [f"| `{name}` | {text} |" for name, text in sorted(rows.items())]
    return "\n".join(["| layer | how |", "|---|---|", *lines])


def replaced(text: str) -> str:
    """A page with the tables of now between their marks."""
    for name, table_text in (("layers", table()), ("refused", refusals.table())):
        begin, end = (mark.format(name) for mark in _MARKS)
        before, _, remainder = text.partition(begin)
        text = f"{before}{begin}\n\n{table_text}\n\n{end}{remainder.partition(end)[2]}"
    return text


def _name(applied: layers.Layer | Callable[..., Any]) -> str:
    """The class of a layer, or of that which a function calls."""
    if not isinstance(applied, layers.Layer):
        (applied,) = (cell.cell_contents for cell in applied.__closure__ or ())
    return type(applied).__name__


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
