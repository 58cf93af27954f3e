"""The Neumann series against dense algebra, and what it says when it moves away."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.linear import Neumann, Status
from tests.linear.systems import dense, products, residuals, systems


def test_terms_equal_a_loop_in_numpy(run):
    matrices, rhs = systems(size=4, condition=5.0)
    result = run(
        lambda b: Neumann(max_steps=6, scale=4.0).solve(products(matrices), b), tf.constant(rhs)
    )
    w = np.zeros_like(rhs)
    for _ in range(6):
        w += (rhs - np.einsum("tij,tj->ti", matrices, w)) / 4.0
    np.testing.assert_allclose(result.solution, w, rtol=1e-10)
    assert result.steps.numpy().tolist() == [6, 6, 6]
    assert np.all(result.status.numpy() == Status.MAX_STEPS)
    np.testing.assert_allclose(result.residual, residuals(matrices, rhs, w), rtol=1e-8)


def test_scale_is_estimated_for_each_task():
    # One scale for both would make the first task diverge or the second crawl.
    matrices, rhs = systems(tasks=2, size=5, condition=3.0)
    matrices *= np.reshape([1e3, 1e-3], [2, 1, 1])
    result = Neumann(max_steps=100, tolerance=1e-10).solve(products(matrices), tf.constant(rhs))
    assert np.all(result.status.numpy() == Status.CONVERGED)
    assert np.all(result.steps.numpy() < 100)
    short_result = Neumann(max_steps=2, power_steps=3).solve(products(matrices), tf.constant(rhs))
    # Products for the scale cost, too.
    assert short_result.steps.numpy().tolist() == [2 + 3 + 1] * 2
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=1e-8)


def test_each_task_stops_independently():
    matrices = np.stack([np.eye(3), np.diag([1.0, 2.0, 4.0])])
    rhs = tf.ones([2, 3], tf.float64)
    result = Neumann(max_steps=200, scale=4.0, tolerance=1e-6).solve(products(matrices), rhs)
    # The residual of the identity shrinks by 3/4 a step, as the slowest part of the other does.
    expected = int(np.ceil(np.log(1e-6) / np.log(0.75)))
    assert result.steps[0] == expected
    assert 0 < result.steps[1] < expected  # only a third of its residual is that slow
    faster = Neumann(max_steps=200, scale=1.0).solve(products(matrices[:1]), rhs[:1])
    assert faster.steps.numpy().tolist() == [1]


def test_divergence_says_so_and_falls_back(run):
    matrices = np.stack([np.diag([1.0, 2.0, 50.0]), np.diag([1.0, 2.0, 3.0])])
    rhs = tf.ones([2, 3], tf.float64)
    halve = lambda r: r / 2  # noqa: E731
    result = run(
        lambda b: Neumann(max_steps=60, scale=2.0).solve(products(matrices), b, halve), rhs
    )
    assert result.status.numpy().tolist() == [Status.DIVERGED, Status.CONVERGED]
    np.testing.assert_allclose(result.solution[0], [0.5, 0.5, 0.5])  # M^-1 v
    np.testing.assert_allclose(result.solution[1], [1, 1 / 2, 1 / 3], rtol=1e-5)


def test_the_best_iterate_is_kept_where_residuals_rise_later():
    rhs = np.array([[1.0, 1e-3]])
    matrices = np.diag([1.0, 50.0])[None]  # the second part grows 24 times a step
    result = Neumann(max_steps=4, scale=2.0).solve(products(matrices), tf.constant(rhs))
    np.testing.assert_allclose(result.solution, rhs / 2, rtol=1e-12)  # the first of four
    assert result.status.numpy().tolist() == [Status.MAX_STEPS]
    np.testing.assert_allclose(result.residual, residuals(matrices, rhs, rhs / 2), rtol=1e-9)


def test_no_products_are_taken_once_all_tasks_have_converged():
    calls = []
    result = Neumann(max_steps=9, scale=1.0).solve(
        lambda v: calls.append(v) or v, tf.ones([2, 3], tf.float64)
    )
    assert result.steps.numpy().tolist() == [1, 1]
    assert len(calls) == 2  # the step, and what the first-order direction would leave


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_steps": 0},
        {"max_steps": 1.5},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"power_steps": 0},
        {"tolerance": -1e-6},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        Neumann(**arguments)
