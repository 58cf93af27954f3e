"""The walk of one training step in `docs/architecture.md` is the one that a step takes."""

import pathlib
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests.architecture import FLOORS, PACKAGE, ROOT

MOST_HOPS, MOST_CLIMBS = 18, 3
HEIGHT = {name: -floor for floor, names in enumerate(FLOORS) for name in names}
HELPERS = {"_utils", "_compat"}


def documented():
    """The rows of the table: a function by its qualified name, and its file."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| \d+ \| `([\w.]+)` .*\| \[(.+)\] \|$", text, re.MULTILINE)


def names_of(code):
    """How the table names a function, and its file; None outside of the package."""
    path = pathlib.Path(code.co_filename)
    if not path.is_relative_to(PACKAGE):
        return None
    return code.co_qualname, path.relative_to(PACKAGE).as_posix()


def calls_of_a_step():
    """In the order of first calls: a function, its file, and the file that called it."""
    keras.utils.set_random_seed(0)
    network = ki.models.MLP(1, (1,), hidden=(2,))
    learner = ki.MetaLearner(network, ki.IMAML(), adapt="head")
    learner.compile("sgd", "mse")
    x = np.ones([2, 3, 1], "float32")
    calls = {}

    def note(frame, event, _):
        if event != "call" or (name := names_of(frame.f_code)) is None or name in calls:
            return
        caller = frame.f_back
        while caller is not None:
            caller_names = names_of(caller.f_code)
            if (
                caller_names
                and caller_names[1] != name[1]
                and caller_names[1].split("/")[0] not in HELPERS
            ):
                break
            caller = caller.f_back
        calls[name] = caller_names[1] if caller is not None else None

    step = tf.function(learner.train_step, autograph=False)
    sys.setprofile(note)
    try:
        step.get_concrete_function(((x, x), (x, x)))
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no co_qualname")
def test_a_step_takes_the_documented_way():
    rows, calls = documented(), calls_of_a_step()
    order = list(calls)
    assert [row for row in rows if row not in calls] == []
    assert rows == sorted(rows, key=order.index)
    floor = lambda file: HEIGHT[file.split("/")[0]]  # noqa: E731
    climbs = [row for row in rows[1:] if floor(calls[row]) < floor(row[1])]
    assert len(rows) - 1 <= MOST_HOPS
    assert len(climbs) <= MOST_CLIMBS, climbs
