"""What a learner is fed is checked by name, before anything is computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.input_checks import check_element, check_end, check_shapes
from tests import learners

MODEL = ki.models.MLP(3, (4,), hidden=(5,))
ENTRIES = {
    "support_x": ((2, 3, 4), "float32"),
    "support_y": ((2, 3), "int32"),
    "query_x": ((2, 6, 4), "float32"),
    "query_y": ((2, 6), "int32"),
}


def tasks(**changes):
    """Support and query sets; weights only where they are given."""
    entries = {**ENTRIES, **changes}
    parts = {name: tf.zeros(shape, dtype) for name, (shape, dtype) in entries.items()}
    return tuple(
        tuple(parts.get(f"{name}_{part}", ()) for part in ("x", "y", "weights"))
        for name in ("support", "query")
    )


def test_what_fits_is_taken():
    support, query = tasks()
    check_shapes(MODEL, support, query)
    check_shapes(MODEL, support, (query[0], (), ()))
    element = check_element((support[:2], query[:2], None))
    assert [len(part) for part in element] == [3, 3, 0] and element[0][2] == ()
    weighted = tasks(support_weights=((2, 3), "float32"), query_weights=((2, 6), "int32"))
    check_shapes(MODEL, *weighted)
    assert tf.is_tensor(check_element((*weighted, None))[1][2])


@pytest.mark.parametrize("data", [tf.zeros([2, 2]), (tf.zeros([2]), tf.zeros([2])), ((1, 2),), 3])
def test_what_is_no_element_is_refused(data):
    with pytest.raises(ValueError, match="Invalid element of the data"):
        check_element(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"support_x": ((2,), "float32")}, r"`support_x`. Expected shape \(tasks, examples"),
        ({"support_x": ((2, 0, 4), "float32")}, "`support_x`. Expected one example at least"),
        ({"query_x": ((2, 6, 0), "float32")}, "`query_x`. Expected examples that are not empty"),
        ({"query_x": ((3, 6, 4), "float32")}, "`query_x`. Expected as many tasks.*2"),
        ({"support_y": ((2, 4), "int32")}, "`support_y`. Expected as many examples.*3"),
        ({"query_x": ((2, 6, 5), "float32")}, r"`query_x`. Expected examples of shape \(4,\)"),
        ({"support_x": ((2, 3, 4), "bool")}, "`support_x`. Expected numbers"),
        ({"query_y": ((2, 6), "string")}, "`query_y`. Expected numbers"),
        ({"query_weights": ((2, 5), "float32")}, "`query_weights`. Expected as many examples.*6"),
        ({"support_weights": ((2, 3, 1), "float32")}, "`support_weights`. Expected numbers of sh"),
        ({"support_weights": ((2, 3), "string")}, "`support_weights`. Expected numbers of shape"),
        ({"query_weights": ((3, 6), "float32")}, "`query_weights`. Expected as many tasks.*2"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=f"Invalid value for {message}.*Received"):
        check_shapes(MODEL, *tasks(**changes))


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
def test_class_numbers_out_of_range_are_refused_when_adapting(labels):
    learner = learners.compiled(MODEL, learners.imaml())
    with pytest.raises(ValueError, match="`support_y`. Expected class numbers from 0 to 2.*Rec"):
        learner.adapt(np.zeros((3, 4), "float32"), np.array(labels))


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return index


class Ending(Endless):
    num_batches = 3


NUMBERS = tf.data.Dataset.range(3)


@pytest.mark.parametrize(
    "data",
    [
        NUMBERS.repeat(),
        NUMBERS.repeat().batch(2).prefetch(1),
        tf.distribute.get_strategy().experimental_distribute_dataset(NUMBERS.repeat()),
        Endless(),
    ],
)
def test_data_without_an_end_needs_a_number_of_steps(data):
    with pytest.raises(ValueError, match="`steps`.*`x` has no end.*steps=None"):
        check_end("x", data, "steps", None)
    check_end("x", data, "steps", 2)


@pytest.mark.parametrize(
    "data", [NUMBERS, NUMBERS.repeat(2), NUMBERS.filter(lambda x: x > 0), Ending(), iter([]), None]
)
def test_data_that_may_end_is_taken(data):
    check_end("x", data, "steps", None)


def test_learners_refuse_data_without_an_end():
    learner, data = learners.compiled(), learners.dataset(learners.images())
    for use, missing in (
        (lambda: learner.fit(data), "steps_per_epoch"),
        (lambda: learner.fit(data, steps_per_epoch=1, validation_data=data), "validation_steps"),
        (lambda: learner.evaluate(data), "steps"),
    ):
        with pytest.raises(ValueError, match=f"`{missing}`.*has no end"):
            use()
