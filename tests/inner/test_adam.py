"""Adam against the same loop in NumPy, and when it stops."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import Adam
from tests import problems
from tests.inner.inner_problems import (
    STRENGTH,
    gradient,
    graph,
    inner_problem,
    minimize,
    of_different_difficulty,
    path,
    with_a_huge_task,
)


def in_numpy(problem, steps, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Algorithm 1 of Kingma and Ba, word by word; and the norm of the last gradient."""
    phi = np.tile(problem.theta, (3, 1))
    m = v = np.zeros_like(phi)
    for t in range(1, steps + 1):
        g = gradient(problem, phi)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        unbiased = m / (1 - beta_1**t), v / (1 - beta_2**t)
        phi = phi - learning_rate * unbiased[0] / (np.sqrt(unbiased[1]) + epsilon)
    return phi, np.linalg.norm(g, axis=1)


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.0, "beta_2": 0.0}, {"epsilon": 0.1}],
    ids=str,
)
def test_equals_a_loop_in_numpy(run, settings):
    problem = problems.LinearRegression()
    result = minimize(run, Adam(steps=7, learning_rate=0.05, **settings), problem)
    expected, last = in_numpy(problem, 7, 0.05, **settings)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-9)
    np.testing.assert_allclose(result.gradient_norm, last, rtol=1e-9)
    assert result.steps.numpy().tolist() == result.gradients.numpy().tolist() == [7, 7, 7]
    assert np.all(result.valid)


def test_single_precision_equals_a_loop_in_numpy():
    problem = problems.LinearRegression(dtype="float32")
    result = minimize(graph, Adam(steps=7, learning_rate=0.05), problem)
    assert result.phi.dtype == tf.float32
    np.testing.assert_allclose(result.phi, in_numpy(problem, 7, 0.05)[0], rtol=1e-3, atol=1e-4)


def test_the_first_step_is_the_learning_rate_in_every_weight():
    problem = problems.LinearRegression()
    result = minimize(graph, Adam(steps=1, learning_rate=0.03), problem)
    start = np.tile(problem.theta, (3, 1))
    np.testing.assert_allclose(
        result.phi - start, -0.03 * np.sign(gradient(problem, start)), rtol=1e-3
    )


def test_converges_to_the_minimizer():
    problem = problems.LinearRegression()
    solver = Adam(steps=3000, learning_rate=0.01, tolerance=1e-7)
    result = minimize(graph, solver, problem)
    expected = problem.minimizer(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, atol=1e-6)
    assert np.all(result.steps < 3000)
    assert np.all(result.gradient_norm <= 1e-7 * result.initial_gradient_norm)


def test_short_steps_go_down():
    inner = inner_problem(problems.LinearRegression())
    values = path(lambda n: Adam(steps=n, learning_rate=0.01), 6, inner)
    assert np.all(np.diff(values, axis=0) < 0)


def test_each_task_stops_independently(run):
    problem, tensors = of_different_difficulty()
    solver = Adam(steps=60, learning_rate=0.1, tolerance=0.05)
    result = minimize(run, solver, problem, tensors)
    steps = result.steps.numpy()
    assert 0 < min(steps[1:]) < max(steps[1:])
    for task in (1, 2):
        task_result = minimize(
            run, Adam(steps=int(steps[task]), learning_rate=0.1), problem, tensors
        )
        np.testing.assert_array_equal(result.phi[task], task_result.phi[task])


def test_a_broken_task_is_invalid_and_leaves_other_tasks_unchanged(run):
    problem, huge_tensors = with_a_huge_task()
    huge_tensors = huge_tensors._replace(
        support_x=huge_tensors.support_x * [[[1.0]], [[1e18]], [[1.0]]]
    )
    clean_result = minimize(run, Adam(steps=3), problem)
    result = minimize(run, Adam(steps=3), problem, huge_tensors)
    assert result.valid.numpy().tolist() == [True, False, True]
    for task in (0, 2):
        np.testing.assert_array_equal(result.phi[task], clean_result.phi[task])


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": -1},
        {"learning_rate": 0.0},
        {"beta_1": 1.0},
        {"beta_2": 1.5},
        {"beta_1": -0.1},
        {"epsilon": 0.0},
        {"tolerance": -1.0},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        Adam(**arguments)
