"""Newton-CG against Newton's method in NumPy, and its guards where G is not convex."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.curvature import Hessian
from keras_imaml.inner import NewtonCG
from tests import problems
from tests.curvature import networks
from tests.inner.inner_problems import (
    STRENGTH,
    Function,
    backtrack_in_numpy,
    gradient,
    graph,
    hyperbola,
    minimize,
    of_different_difficulty,
    path,
)


def in_numpy(value, slope_of, bend_of, x, steps, mu):
    """Newton's method with the damping of Levenberg and Marquardt, for one weight."""
    evaluation_count = 0
    for _ in range(steps):
        g, h = slope_of(x), bend_of(x)
        direction = -g / (h + mu)
        point, evaluations = backtrack_in_numpy(value, x, direction, g * direction)
        gain = (value(point) - value(x)) / (g * direction + h * direction**2 / 2)
        mu *= 2 / 3 if gain > 0.75 else 1.5 if gain < 0.25 else 1
        x, evaluation_count = point, evaluation_count + evaluations
    return x, mu, evaluation_count


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_one_step_solves_a_quadratic(run, curvature):
    problem = problems.LinearRegression()
    solver = NewtonCG(1, 6, curvature, damping=0.0, linear_tolerance=1e-3)
    result = minimize(run, solver, problem)
    start = np.tile(problem.theta, (3, 1))
    first = np.linalg.norm(gradient(problem, start), axis=1)
    left = np.linalg.norm(gradient(problem, result.phi.numpy()), axis=1)
    assert np.all(left <= 1.01e-3 * first)  # the tolerance of the linear solve
    np.testing.assert_allclose(result.initial_gradient_norm, first, rtol=1e-10)
    np.testing.assert_allclose(result.gradient_norm, first, rtol=1e-10)
    assert result.steps.numpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-7), ("float32", 1e-4)])
def test_converges_to_the_minimizer_and_stops(dtype, accuracy):
    problem = problems.LinearRegression(dtype=dtype)
    solver = NewtonCG(steps=50, tolerance=1e-2 * accuracy, damping=1.0)
    result = minimize(graph, solver, problem)
    expected = problem.minimizer(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, rtol=accuracy, atol=accuracy)
    assert result.phi.dtype == result.gradient_norm.dtype == dtype
    assert np.all(result.steps.numpy() < 50)
    if dtype == "float64":
        final_norm = np.linalg.norm(gradient(problem, result.phi.numpy()), axis=1)
        np.testing.assert_allclose(result.gradient_norm, final_norm, rtol=1e-6)
        assert np.all(final_norm <= 1e-2 * accuracy * result.initial_gradient_norm.numpy())


def test_damping_falls_where_the_model_is_exact(run):
    problem, tensors = of_different_difficulty()
    result = minimize(run, NewtonCG(steps=4, damping=3.0), problem, tensors)
    # The curvature of the second task is a multiple of the identity: every solve is exact.
    bend = 2 / 3 + STRENGTH
    expected = ([1.0, 2.0, 3.0] * np.array(2 / 3) + STRENGTH * problem.theta) / bend
    share = np.prod([mu / (bend + mu) for mu in 3.0 * (2 / 3) ** np.arange(4)])
    np.testing.assert_allclose(
        result.phi[1], expected + share * (problem.theta - expected), rtol=1e-10
    )


@pytest.mark.parametrize("warm_start", [False, True])
def test_damping_grows_where_the_model_is_wrong(run, warm_start):
    starts, mu = [3.0, 0.5, -8.0], 0.02
    solver = NewtonCG(3, 2, "hessian", mu, warm_start=warm_start)
    result = run(lambda: solver.minimize(Function(hyperbola, starts)))
    expected = [
        in_numpy(hyperbola, lambda x: x / hyperbola(x), lambda x: hyperbola(x) ** -3, x, 3, mu)
        for x in starts
    ]
    phi, damping, evaluations = map(list, zip(*expected, strict=True))
    assert damping[0] > mu > damping[1]
    np.testing.assert_allclose(result.phi[:, 0], phi, rtol=1e-8)
    # One gradient and one product a step, two more with a warm start ...
    fixed = 3 * (1 + 2 * (1 + 2 * warm_start))
    # ... and three values of G, of which one is at the start, for one gradient.
    assert result.gradients.numpy().tolist() == [fixed + -(-(1 + n) // 3) for n in evaluations]
    assert evaluations[0] > 0


def test_an_uphill_direction_is_replaced(run):
    # The first step crosses a minimum and ends on a slope that bends down. The warm start of the
    # second leads further up.
    def value(x):
        return tf.sin(x) - 0.3 * x

    def solver(steps):
        return NewtonCG(steps, 2, "hessian", 0.0, warm_start=True)

    def two_steps():
        problem = Function(value, [3.5])
        first, second = (solver(n).minimize(problem).phi for n in (1, 2))
        return first, second, problem.gradient(first)

    first, second, slope = (float(t[0, 0]) for t in run(two_steps))
    assert first > 6.5 and slope > 0 and np.sin(first) > 0
    np.testing.assert_allclose(second, first - slope, rtol=1e-10)


@pytest.mark.parametrize("warm_start", [False, True])
def test_the_value_never_increases_on_functions_that_are_not_convex(warm_start):
    inner = Function(lambda x: tf.sin(3 * x) + 0.1 * x**2, np.linspace(-6, 6, 25))
    values = path(lambda n: NewtonCG(n, 2, "hessian", warm_start=warm_start), 6, inner)
    assert np.all(np.diff(values, axis=0) <= 0)
    assert np.all(values[1] < values[0])


@pytest.mark.slow
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_the_value_never_increases_on_a_network(curvature):
    inner, phi = networks.inner_problem(networks.perceptron(problems.mean_squared_error))
    start = 3 * phi
    product = Hessian().linearize(lambda: inner, start, ()).product
    assert np.linalg.eigvalsh(networks.dense(product, start)).min() < 0
    values = [inner.value(start)]
    for steps in (1, 3):
        solver = NewtonCG(steps, curvature=curvature)
        result = graph(solver.minimize, inner, start)
        values.append(inner.value(result.phi))
        assert np.all(result.steps.numpy() == steps)
    assert np.all(np.diff(values, axis=0) < 0)


def test_reports_the_gradient_where_the_last_step_began():
    problem = problems.LinearRegression()
    result = minimize(graph, NewtonCG(steps=3, linear_steps=2), problem)
    before = minimize(graph, NewtonCG(steps=2, linear_steps=2), problem)
    expected = np.linalg.norm(gradient(problem, before.phi.numpy()), axis=1)
    np.testing.assert_allclose(result.gradient_norm, expected, rtol=1e-8)


def test_each_task_stops_independently(run):
    problem, tensors = of_different_difficulty()
    solver = NewtonCG(steps=30, linear_steps=1, damping=0.1, tolerance=1e-4)
    result = minimize(run, solver, problem, tensors)
    steps = result.steps.numpy()
    assert 0 < steps[1] < steps[2] < 30
    exact = NewtonCG(steps=int(steps[1]), linear_steps=1, damping=0.1)
    task_result = minimize(run, exact, problem, tensors)
    np.testing.assert_array_equal(result.phi[1], task_result.phi[1])
    assert np.all((result.gradient_norm <= 1e-4 * result.initial_gradient_norm)[1:])


def test_a_task_without_an_acceptable_step_stays():
    # The first task needs three halvings.
    solver = NewtonCG(5, 2, "hessian", 0.0, backtracks=1)
    result = solver.minimize(Function(hyperbola, [3.0, 0.5]))
    assert result.phi[0, 0] == 3.0
    assert result.steps[0] == 1 < result.steps[1]
    np.testing.assert_allclose(result.phi[1, 0], 0.0, atol=1e-8)
    np.testing.assert_allclose(result.gradient_norm[0], 3 / hyperbola(3.0), rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": -1},
        {"linear_steps": 0},
        {"curvature": "fisher"},
        {"damping": -0.1},
        {"backtracks": -1},
        {"tolerance": float("inf")},
        {"linear_tolerance": -0.1},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        NewtonCG(**arguments)
