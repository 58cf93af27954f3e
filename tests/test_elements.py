"""What a learner is fed is checked by name, before anything is computed."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.elements import check_element, check_shapes
from tests import learners

MODEL = ki.models.MLP(3, (4,), hidden=(5,))
GOOD = {
    "support_x": ((2, 3, 4), "float32"),
    "support_y": ((2, 3), "int32"),
    "query_x": ((2, 6, 4), "float32"),
    "query_y": ((2, 6), "int32"),
}


def tasks(**changed):
    return [tf.zeros(shape, dtype) for shape, dtype in {**GOOD, **changed}.values()]


def test_what_fits_is_taken():
    check_shapes(MODEL, tasks())
    check_shapes(MODEL, [*tasks()[:3], ()])
    assert check_element((tasks()[:2], tasks()[2:], None))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"support_x": ((2,), "float32")}, r"`support_x`. Expected shape \(tasks, examples"),
        ({"support_x": ((2, 0, 4), "float32")}, "`support_x`. Expected one example at least"),
        ({"query_x": ((2, 6, 0), "float32")}, "`query_x`. Expected examples that are not empty"),
        ({"query_x": ((3, 6, 4), "float32")}, "`query_x`. Expected as many tasks.*2"),
        ({"support_y": ((2, 4), "int32")}, "`support_y`. Expected as many examples.*3"),
        ({"query_x": ((2, 6, 5), "float32")}, r"`query_x`. Expected examples of shape \(4,\)"),
        ({"support_x": ((2, 3, 4), "bool")}, "`support_x`. Expected numbers"),
        ({"query_y": ((2, 6), "string")}, "`query_y`. Expected numbers"),
    ],
)
def test_what_does_not_fit_is_named(changed, message):
    with pytest.raises(ValueError, match=f"Invalid value for {message}.*Received"):
        check_shapes(MODEL, tasks(**changed))


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
def test_class_numbers_out_of_range_are_refused_when_adapting(labels):
    learner = learners.compiled(MODEL, learners.imaml())
    with pytest.raises(ValueError, match="`support_y`. Expected class numbers from 0 to 2.*Rec"):
        learner.adapt(np.zeros((3, 4), "float32"), np.array(labels))
