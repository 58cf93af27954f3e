"""L-BFGS against the textbook in NumPy, and its guards where G is not convex."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import LBFGS
from tests import problems
from tests.inner.inner_problems import (
    STRENGTH,
    Function,
    backtrack_in_numpy,
    gradient,
    graph,
    hyperbola,
    inner_problem,
    minimize,
    of_different_difficulty,
    path,
)


def in_numpy(value, slope, x, steps, memory, first_step):
    """Algorithm 7.5 of Nocedal and Wright with the two loops of 7.4; and gradients spent.

    A move along which the gradient does not grow takes a place of the memory (None).
    """
    places, values = [], 1
    for _ in range(steps):
        g = q = slope(x)
        shares, pairs = [], [pair for pair in places if pair is not None]
        for s, y in reversed(pairs):
            shares.append(s @ q / (s @ y))
            q = q - shares[-1] * y
        newest = places[-1] if places else None
        q = q * (newest[0] @ newest[1] / (newest[1] @ newest[1]) if newest else first_step)
        for (s, y), share in zip(pairs, reversed(shares), strict=True):
            q = q + s * (share - y @ q / (s @ y))
        point, evaluations = backtrack_in_numpy(value, x, -q, -g @ q)
        move, change = point - x, slope(point) - g
        places = [*places, (move, change) if move @ change > 0 else None][-memory:]
        x, values = point, values + evaluations
    return x, 1 + steps + -(-values // 3)  # three values cost a gradient


def quadratic_in_numpy(problem, task, steps, memory, first_step):
    a = problem.hessian[task] + STRENGTH * np.eye(6)
    b = problem.linear[task] + STRENGTH * problem.theta
    value, slope = (lambda x: x @ a @ x / 2 - b @ x), (lambda x: a @ x - b)
    return in_numpy(value, slope, problem.theta.astype("float64"), steps, memory, first_step)


@pytest.mark.parametrize(("memory", "first_step"), [(1, 0.1), (3, 0.1), (5, 10.0)])
def test_equals_the_textbook(run, memory, first_step):
    problem = problems.LinearRegression()
    solver = LBFGS(steps=6, memory=memory, first_step=first_step)
    result = minimize(run, solver, problem)
    expected = [quadratic_in_numpy(problem, task, 6, memory, first_step) for task in range(3)]
    phi, costs = zip(*expected, strict=True)
    np.testing.assert_allclose(result.phi, phi, rtol=1e-6)
    assert result.gradients.numpy().tolist() == list(costs)
    assert result.steps.numpy().tolist() == [6, 6, 6]
    if first_step == 10.0:
        assert min(costs) > 7 + 3  # the line search was at work


class Rough(Function):
    """Two weights a task, and a surface that bends up and down."""

    def __init__(self, scale, start):
        self._scale, self._start = scale, tf.constant(start, tf.float64)

    def value(self, phi):
        return self._scale * tf.reduce_sum(tf.sin(3 * phi) + 0.1 * phi**2, axis=-1)


@pytest.mark.parametrize("scale", [1e-12, 1.0])
def test_equals_the_textbook_where_g_is_not_convex(scale):
    """Moves along which the gradient falls are left out, in whatever unit G is measured."""
    start = np.random.default_rng(1).uniform(-6, 6, size=(20, 2))
    result = LBFGS(4, first_step=0.1 / scale).minimize(Rough(scale, start))
    value = lambda x: scale * np.sum(np.sin(3 * x) + 0.1 * x**2)  # noqa: E731
    slope = lambda x: scale * (3 * np.cos(3 * x) + 0.2 * x)  # noqa: E731
    expected = [in_numpy(value, slope, x, 4, 5, 0.1 / scale)[0] for x in start]
    np.testing.assert_allclose(result.phi, expected, rtol=1e-7)


def test_the_first_step_is_along_the_gradient():
    problem = problems.LinearRegression()
    result = minimize(graph, LBFGS(steps=1, first_step=0.01), problem)
    start = np.tile(problem.theta, (3, 1))
    np.testing.assert_allclose(result.phi, start - 0.01 * gradient(problem, start), rtol=1e-10)
    assert result.gradients.numpy().tolist() == [3, 3, 3]  # two, and two values


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-7), ("float32", 1e-3)])
def test_converges_to_the_minimizer_and_stops(dtype, accuracy):
    problem = problems.LinearRegression(dtype=dtype)
    solver = LBFGS(steps=100, tolerance=1e-2 * accuracy)
    result = minimize(graph, solver, problem)
    expected = problem.minimizer(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, rtol=accuracy, atol=accuracy)
    assert result.phi.dtype == result.gradient_norm.dtype == dtype
    assert np.all(result.steps.numpy() < 100)
    assert np.all(result.gradient_norm <= 1e-2 * accuracy * result.initial_gradient_norm)


@pytest.mark.parametrize("steps", [1, 4])
def test_reports_the_gradient_at_the_solution(run, steps):
    problem = problems.LinearRegression()
    result = minimize(run, LBFGS(steps), problem)
    for name, phi in [
        ("initial_gradient_norm", np.tile(problem.theta, (3, 1))),
        ("gradient_norm", result.phi.numpy()),
    ]:
        expected = np.linalg.norm(gradient(problem, phi), axis=1)
        np.testing.assert_allclose(getattr(result, name), expected, rtol=1e-9)


def test_the_value_never_increases():
    values = path(LBFGS, 6, inner_problem(problems.LinearRegression()))
    assert np.all(np.diff(values, axis=0) < 0)
    # Where G is not convex most moves are of no use to the estimate.
    wavy_problem = Function(lambda x: tf.sin(3 * x) + 0.1 * x**2, np.linspace(-6, 6, 25))
    values = path(lambda n: LBFGS(n, first_step=0.5), 8, wavy_problem)
    assert np.all(np.diff(values, axis=0) <= 0)
    assert np.all(values[1] < values[0])


def test_ends_where_the_gradient_vanishes_if_g_is_not_convex(run):
    wavy_problem = Function(lambda x: tf.sin(3 * x) + 0.1 * x**2, np.linspace(-6, 6, 25))
    result = run(lambda: LBFGS(60, tolerance=1e-6).minimize(wavy_problem))
    assert np.all(result.gradient_norm <= 1e-6 * result.initial_gradient_norm)
    curvature = -9 * np.sin(3 * result.phi[:, 0]) + 0.2
    assert np.all(curvature > 0)  # minima, not maxima


def test_each_task_stops_independently(run):
    problem, tensors = of_different_difficulty()
    result = minimize(run, LBFGS(steps=60, tolerance=1e-5), problem, tensors)
    steps = result.steps.numpy()
    assert 0 < steps[1] < steps[2] < 60
    task_result = minimize(run, LBFGS(steps=int(steps[1])), problem, tensors)
    np.testing.assert_array_equal(result.phi[1], task_result.phi[1])
    assert result.gradients[1] == task_result.gradients[1] < result.gradients[2]


def test_a_task_that_starts_at_its_minimum_takes_no_step():
    result = LBFGS(steps=5).minimize(Function(hyperbola, [0.0, 2.0]))
    assert result.steps.numpy().tolist() == [0, 5]
    assert result.gradients[0] == 2  # one, and a value
    assert result.phi[0, 0] == result.gradient_norm[0] == 0


def test_a_task_without_an_acceptable_step_stays():
    result = LBFGS(steps=5, first_step=100.0, backtracks=1).minimize(
        Function(lambda x: x**2 * [1.0, 1e-3], [1.0, 1.0])
    )
    assert result.steps[0] == 1 < result.steps[1]
    assert result.phi[0, 0] == 1
    assert result.gradient_norm[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": -1},
        {"memory": 0},
        {"first_step": 0.0},
        {"backtracks": 1.5},
        {"tolerance": -1e-3},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        LBFGS(**arguments)
