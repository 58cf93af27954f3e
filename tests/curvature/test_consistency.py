"""Second derivatives that are missing are found, and none that is there is taken for missing."""

import pytest
import tensorflow as tf

from keras_imaml._compat.second_derivatives import exact_moments
from keras_imaml.curvature.consistency import bends_otherwise, transpose_error
from tests.curvature.slopes import rounded_value, stopped_slope, straight_slope
from tests.second_derivatives import ADDED, KERAS, input_of


def partly(function):
    """The function for one of four channels, and a smooth one for the others."""
    return lambda x: tf.concat([function(x[:, :1]), tf.sin(3 * x[:, 1:])], axis=1)


# name: (function, whether its transpose is right, whether its bends are)
FUNCTIONS = {
    "sine": (tf.sin, True, True),
    "square": (lambda x: x[:, :2] * x[:, 2:], True, True),
    "linear": (lambda x: tf.matmul(x, tf.ones([4, 2], x.dtype)), True, True),
    "constant": (lambda x: tf.stop_gradient(x), True, True),
    "kinks": (lambda x: tf.nn.relu(x - 0.5), True, True),
    "kinks everywhere": (lambda x: tf.nn.relu(tf.zeros_like(x) * x + tf.nn.relu(x)), True, True),
    "rounded": (rounded_value, True, True),
    "rounded, then bent": (lambda x: tf.sin(rounded_value(x)), True, True),
    "not a number": (lambda x: tf.math.log(x - 2), True, True),
    "stopped": (stopped_slope, False, True),
    "stopped in part": (partly(stopped_slope), False, True),
    "stopped, then bent": (lambda x: tf.sin(stopped_slope(x)), False, True),
    "straight": (straight_slope, True, False),
    "straight, then bent": (lambda x: tf.tanh(straight_slope(x)), True, False),
}


def point(dtype="float32"):
    return tf.random.stateless_uniform([6, 4], [0, 1], 0.1, 0.9, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_missing_is_found(name, dtype):
    function, transposed, bends = FUNCTIONS[name]
    error = transpose_error(lambda x: function(x[0]), [point(dtype)])
    assert (error > 0.05) != transposed
    if transposed:
        assert not error > (1e-5 if dtype == "float32" else 1e-12)
        assert bends_otherwise(lambda x: function(x[0]), [point(dtype)]) != bends


def test_several_inputs_and_outputs():
    def function(x):
        return {"a": x[0] * x[1], "b": [straight_slope(x[1]), tf.constant(3)]}

    x = [point(), point() + 1]
    assert transpose_error(function, x) < 1e-5
    assert bends_otherwise(function, x)
    assert not bends_otherwise(lambda x: function(x)["a"], x)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*ADDED, *KERAS], ids=lambda case: case.name)
def test_nothing_of_keras_is_a_false_alarm(case):
    with exact_moments():
        function, x = case.build(), input_of(case)
        if case.single:
            x = tf.cast(x, tf.float32)
        assert transpose_error(lambda x: function(x[0]), [x]) < 1e-4
        assert not bends_otherwise(lambda x: function(x[0]), [x])
