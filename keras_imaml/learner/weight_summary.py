"""The weights of a learner by what happens to them, as a table in plain text."""

import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

ADAPTED = "adapts, from a meta-learned start"
SHARED = "meta-learned, the same for all tasks"
FIXED = "fixed"
ALL = (ADAPTED, SHARED, FIXED)

_WIDTH = 100  # columns of a terminal
_OWNER = 46  # of them for the names of layers


class Row(NamedTuple):
    """Weights of one layer that are treated alike.

    Attributes:
        owner: The layer's path, or the object that the weights belong to and their name.
        role: `ADAPTED`, `SHARED` or `FIXED`.
        numbers: How many numbers they hold.
    """

    owner: str
    role: str
    numbers: int


def weight_rows(learner: Any) -> list[Row]:
    """The weights of the network by layer, then the meta-parameters of the algorithm and the loss.

    Args:
        learner: A `keras_imaml.MetaLearner`.
    """
    adapted = {id(v) for v in learner.parameters.adapted}
    rows: dict[tuple[str, str], int] = {}
    for owner, variable in _owned(learner):
        role = SHARED if variable.trainable else FIXED
        role = ADAPTED if id(variable) in adapted else role
        numbers = rows.get((owner, role), 0)
        rows[owner, role] = numbers + int(keras.ops.size(variable))
    return [Row(owner, role, numbers) for (owner, role), numbers in rows.items()]


def weights_table(learner: Any) -> str:
    """What `MetaLearner.summary` prints."""
    rows = weight_rows(learner)
    lines = [("Weights", "Numbers", "What happens to them")]
    lines += [(_shortened(row.owner), f"{row.numbers:,}", row.role) for row in rows]
    totals = {role: sum(r.numbers for r in rows if r.role == role) for role in ALL}
    lines += [("", "", ""), *(("Total", f"{number:,}", role) for role, number in totals.items())]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    head = f"MetaLearner {learner.name!r}: {learner.model.name!r} by {learner.algorithm!r}"
    heads = textwrap.wrap(head, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    body = [f"{a:<{first}}  {b:>{second}}  {c}".rstrip() for a, b, c in lines]
    return "\n".join([*heads, "", *body])


def _shortened(path: str) -> str:
    """The end of a long path: what comes before is the same for many layers."""
    return path if len(path) <= _OWNER else f"...{path[3 - _OWNER :]}"


def _owned(learner: Any) -> Iterator[tuple[str, keras.Variable]]:
    for variable in learner.model.weights:
        yield variable.path.rpartition("/")[0] or variable.path, variable
    for variable in learner.algorithm.weights:
        yield f"{type(learner.algorithm).__name__}: {variable.name}", variable
    if learner.learned_loss is not None:
        for variable in learner.learned_loss.weights:
            yield f"LearnedLoss: {variable.path.rpartition('/')[0]}", variable
    if hasattr(learner, "loss_variables"):
        for variable in learner.loss_variables.weights:
            yield f"Inner loss: {variable.path}", variable
