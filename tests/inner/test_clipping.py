"""Clipping of gradients: values, derivatives, and each task by itself."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.inner.clipping import clipping
from tests import problems

GRADIENTS = np.array([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("norm", "value", "expected"),
    [
        (None, None, GRADIENTS),
        (1.0, None, [[0.6, -0.8], [0.3, 0.4], [0, 0]]),
        (None, 0.35, [[0.35, -0.35], [0.3, 0.35], [0, 0]]),
        (1.0, 3.0, [[0.5**0.5, -(0.5**0.5)], [0.3, 0.4], [0, 0]]),
    ],
)
def test_each_task_is_clipped_independently(norm, value, expected):
    np.testing.assert_allclose(clipping(norm, value)(tf.constant(GRADIENTS)), expected)


def test_the_derivative_of_a_clipped_norm():
    """Of `c g / |g|` it is `c (I - u u') / |g|`; shorter gradients pass, zero among them."""
    x = tf.constant(GRADIENTS)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = clipping(1.0, None)(x)
    v = np.array([[1.0, 2.0]] * 3)
    unit = GRADIENTS[0] / 5
    expected = [(v[0] - unit * (unit @ v[0])) / 5, v[1], v[2]]
    np.testing.assert_allclose(tape.gradient(y, x, output_gradients=v), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "solver",
    [
        ki.inner.GradientDescent(1, 0.1, clip_norm=0.01),
        ki.inner.GradientDescent(1, 0.1, momentum=0.9, nesterov=True, clip_norm=0.01),
    ],
)
def test_a_step_is_no_longer_than_the_limit(solver):
    problem = problems.LinearRegression()
    algorithm = ki.MAML(solver)
    objective = problems.objective_of(problem)
    algorithm.prepare(objective.parameters)
    step = algorithm.adapt(objective).phi - problem.theta
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 0.001, rtol=1e-9)


@pytest.mark.parametrize("kind", [ki.inner.GradientDescent, ki.inner.Adam])
@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_limits_that_are_no_positive_numbers_are_refused(kind, name):
    with pytest.raises(ValueError, match=f"`{name}`.*above 0"):
        kind(learning_rate=0.1, **{name: 0.0})


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_the_automatic_step_size_is_not_clipped(name):
    with pytest.raises(ValueError, match=f"`{name}`.*learning_rate=0.1"):
        ki.inner.GradientDescent(**{name: 1.0})
