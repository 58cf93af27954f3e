"""Backtracking: the condition that it promises, and what it spends on which task."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml._utils.vectors import dot
from keras_imaml.inner import LBFGS, NewtonCG
from keras_imaml.inner.line_search import SUFFICIENT_DECREASE, backtrack
from tests import problems
from tests.inner.inner_problems import inner_problem, minimize, with_a_huge_task


def downhill(length=1.0, active=(True, True, True), halvings=12):
    """A search along `- length_t grad G` from theta, and what it started from."""
    inner = inner_problem(problems.LinearRegression())
    phi = inner.start()
    gradient = inner.gradient(phi)
    direction = -tf.reshape(tf.cast(length, tf.float64) * tf.ones(3, tf.float64), [3, 1]) * gradient
    slope, value = dot(gradient, direction), inner.value(phi)
    arguments = phi, value, direction, slope, tf.constant(active)
    return inner, arguments, lambda: backtrack(inner, *arguments, halvings=halvings)


def test_the_first_step_of_enough_decrease_is_taken(run):
    inner, (phi, value, direction, slope, _), search = downhill([0.05, 1.0, 100.0])
    step = run(search)
    assert np.all(step.accepted)
    tries = step.evaluations.numpy()
    assert tries[0] == 1 < tries[1] < tries[2]
    for task, count in enumerate(tries):
        sizes = 0.5 ** np.arange(count)
        values = np.array([inner.value(phi + t * direction)[task] for t in sizes])
        is_enough = (
            values <= value[task].numpy() + SUFFICIENT_DECREASE * sizes * slope[task].numpy()
        )
        assert is_enough.tolist() == [False] * (count - 1) + [True]
        np.testing.assert_allclose(step.phi[task], phi[task] + sizes[-1] * direction[task])
        np.testing.assert_allclose(step.value[task], values[-1], rtol=1e-12)


def test_a_decrease_that_is_too_small_is_not_enough():
    # Beyond the minimum and back up to a hundred thousandth of the predicted decrease.
    inner, (phi, value, direction, slope, active), _ = downhill()
    bend = 2 * (inner.value(phi + direction) - value - slope)
    length = -2 * slope / bend * (1 - 1e-5)
    direction, slope = length[:, None] * direction, length * slope
    assert np.all(inner.value(phi + direction) < value)
    step = backtrack(inner, phi, value, direction, slope, active, halvings=0)
    assert not np.any(step.accepted)
    step = backtrack(inner, phi, value, direction, slope, active, halvings=1)
    assert np.all(step.accepted)
    np.testing.assert_allclose(step.phi, phi + direction / 2, rtol=1e-12)


def test_without_an_acceptable_step_everything_stays(run):
    _, (phi, value, *_), search = downhill([1e6, 0.05, 1e6], halvings=2)
    step = run(search)
    assert step.accepted.numpy().tolist() == [False, True, False]
    assert step.evaluations.numpy().tolist() == [3, 1, 3]
    for task in (0, 2):
        np.testing.assert_array_equal(step.phi[task], phi[task])
        assert step.value[task] == value[task]


def test_inactive_tasks_are_left_alone(run):
    _, (phi, value, *_), search = downhill(0.05, active=(True, False, True))
    step = run(search)
    assert step.accepted.numpy().tolist() == [True, False, True]
    assert step.evaluations.numpy().tolist() == [1, 0, 1]
    np.testing.assert_array_equal(step.phi[1], phi[1])
    assert step.value[1] == value[1]


def test_values_of_nan_are_no_decrease():
    inner, (phi, value, direction, slope, active), _ = downhill(0.05)
    direction *= tf.constant([[1.0], [np.nan], [1e300]], tf.float64)  # G overflows
    step = backtrack(inner, phi, value, direction, slope, active, halvings=3)
    assert step.accepted.numpy().tolist() == [True, False, False]
    np.testing.assert_array_equal(step.phi[1:], phi[1:])


@pytest.mark.parametrize(("solver", "steps"), [(LBFGS(steps=3), 3), (NewtonCG(steps=2), 2)])
def test_a_broken_task_stays_and_leaves_other_tasks_unchanged(run, solver, steps):
    problem, huge_tensors = with_a_huge_task()
    support_x = huge_tensors.support_x * [[[1.0]], [[1e18]], [[1.0]]]  # G overflows
    huge_tensors = huge_tensors._replace(support_x=support_x)
    clean_result = minimize(run, solver, problem)
    result = minimize(run, solver, problem, huge_tensors)
    for task in (0, 2):
        np.testing.assert_array_equal(result.phi[task], clean_result.phi[task])
    np.testing.assert_array_equal(result.phi[1], problem.theta)
    assert result.steps.numpy().tolist() == [steps, 0, steps]
    assert np.all(result.valid)
    assert not np.isfinite(result.gradient_norm[1])
