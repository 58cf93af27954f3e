"""The loop of the first-order solvers: what it counts, what it records, and when it stops."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import GradientDescent
from keras_imaml.inner.descent import Rule, descend
from tests import problems
from tests.inner.inner_problems import gradient, inner_problem, of_different_difficulty

PLAIN = Rule(lambda step, gradient: (-0.05 * gradient,))


def test_repeats_the_change_of_the_rule(run):
    problem = problems.LinearRegression()
    inner = inner_problem(problem)
    result = run(lambda: descend(inner, inner.start(), PLAIN, steps=4, tolerance=0.0))
    phi = np.tile(problem.theta, (3, 1))
    norms = []
    for _ in range(4):
        norms.append(np.linalg.norm(gradient(problem, phi), axis=1))
        phi = phi - 0.05 * gradient(problem, phi)
    np.testing.assert_allclose(result.phi, phi, rtol=1e-10)
    np.testing.assert_allclose(result.initial_gradient_norm, norms[0], rtol=1e-10)
    np.testing.assert_allclose(result.gradient_norm, norms[-1], rtol=1e-10)
    assert result.steps.numpy().tolist() == result.gradients.numpy().tolist() == [4, 4, 4]
    assert result.steps.dtype == result.gradients.dtype == tf.int32


def test_a_rule_carries_its_state_and_knows_the_step(run):
    inner = inner_problem(problems.LinearRegression())

    def update(step, gradient, calls, total):
        shift = tf.cast(step + 1, gradient.dtype) * tf.ones_like(gradient)
        return shift, calls + 1, total + shift

    start = tf.zeros_like(inner.start())
    rule = Rule(update, (tf.zeros([], tf.int32), start))
    result = run(lambda: descend(inner, start, rule, steps=5, tolerance=0.0))
    np.testing.assert_allclose(result.phi, 1 + 2 + 3 + 4 + 5 + np.zeros_like(start))


def test_a_rule_looks_where_it_says():
    problem = problems.LinearRegression()
    inner = inner_problem(problem)
    rule = Rule(lambda step, gradient: (-gradient,), look=lambda phi: phi + 1.0)
    result = descend(inner, inner.start(), rule, steps=1, tolerance=0.0)
    point = np.tile(problem.theta, (3, 1)) + 1.0
    np.testing.assert_allclose(result.phi, problem.theta - gradient(problem, point), rtol=1e-10)
    np.testing.assert_allclose(
        result.gradient_norm, np.linalg.norm(gradient(problem, point), axis=1), rtol=1e-10
    )


@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-6])
def test_a_task_stops_where_its_gradient_is_small_enough(run, tolerance):
    problem, tensors = of_different_difficulty()
    inner = inner_problem(problem, tensors)
    rule = Rule(lambda step, gradient: (-0.3 * gradient,))
    result = run(lambda: descend(inner, inner.start(), rule, steps=300, tolerance=tolerance))
    steps = result.steps.numpy()
    assert 0 < min(steps[1:]) < max(steps[1:]) < 300
    # The last gradient that was taken is that at phi, and the first one that is small enough.
    final_norm = np.linalg.norm(inner.gradient(result.phi), axis=1)
    np.testing.assert_allclose(result.gradient_norm, final_norm, rtol=1e-10, atol=1e-15)
    bound = tolerance * result.initial_gradient_norm.numpy()
    assert np.all(final_norm[1:] <= bound[1:])
    for task in (1, 2):
        before = descend(inner, inner.start(), rule, steps=int(steps[task]) - 1, tolerance=0.0)
        assert np.linalg.norm(inner.gradient(before.phi)[task]) > bound[task]


def test_a_task_that_has_stopped_keeps_the_gradient_that_stopped_it():
    problem, tensors = of_different_difficulty()
    inner = inner_problem(problem, tensors)
    # The state of a stopped task goes on; where it would look is of no interest any more.
    rule = GradientDescent(1, 0.1, momentum=0.5, nesterov=True).rule(inner)
    result = descend(inner, inner.start(), rule, steps=100, tolerance=1e-2)
    steps = result.steps.numpy()
    first = 1 + int(np.argmin(steps[1:]))
    assert steps[first] < np.max(steps) < 100
    short_result = descend(inner, inner.start(), rule, steps=int(steps[first]) + 1, tolerance=0.0)
    np.testing.assert_array_equal(result.gradient_norm[first], short_result.gradient_norm[first])


def test_start_may_be_anywhere():
    inner = inner_problem(problems.LinearRegression())
    middle_phi = descend(inner, inner.start(), PLAIN, steps=3, tolerance=0.0).phi
    continued_phi = descend(inner, middle_phi, PLAIN, steps=3, tolerance=0.0).phi
    expected_phi = descend(inner, inner.start(), PLAIN, steps=6, tolerance=0.0).phi
    np.testing.assert_allclose(continued_phi, expected_phi, rtol=1e-12)


def test_weights_that_are_not_finite_are_not_sound():
    inner = inner_problem(problems.LinearRegression())

    def update(step, gradient):
        return (tf.constant([[1.0], [np.inf], [np.nan]], gradient.dtype) + 0 * gradient,)

    result = descend(inner, inner.start(), Rule(update), steps=1, tolerance=0.0)
    assert result.valid.numpy().tolist() == [True, False, False]
