"""Gradient descent against the same loop in NumPy, and when it stops."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import GradientDescent
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


def in_numpy(problem, steps, learning_rate, momentum, nesterov):
    phi = np.tile(problem.theta, (3, 1))
    velocity = np.zeros_like(phi)
    for _ in range(steps):
        point = phi + momentum * velocity if nesterov else phi
        velocity = momentum * velocity - learning_rate * gradient(problem, point)
        phi = phi + velocity
    return phi


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)], ids=str
)
def test_equals_a_loop_in_numpy(run, momentum, nesterov):
    problem = problems.LinearRegression()
    solver = GradientDescent(steps=7, learning_rate=0.05, momentum=momentum, nesterov=nesterov)
    result = minimize(run, solver, problem)
    expected = in_numpy(problem, 7, 0.05, momentum, nesterov)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-10)
    assert result.steps.numpy().tolist() == [7, 7, 7]
    assert np.all(result.valid)
    start = in_numpy(problem, 1, 1.0, 0.0, False) - problem.theta  # minus the first gradient
    np.testing.assert_allclose(
        result.initial_gradient_norm, np.linalg.norm(start, axis=1), rtol=1e-10
    )


def test_single_precision_equals_a_loop_in_numpy():
    problem = problems.LinearRegression(dtype="float32")
    solver = GradientDescent(steps=7, learning_rate=0.05, momentum=0.8)
    result = minimize(lambda f: f(), solver, problem)
    assert result.phi.dtype == tf.float32
    expected = in_numpy(problem, 7, 0.05, 0.8, False)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_converges_to_the_minimizer(nesterov):
    problem = problems.LinearRegression()
    solver = GradientDescent(
        steps=3000, learning_rate=0.1, momentum=0.5, nesterov=nesterov, tolerance=1e-11
    )
    result = minimize(lambda f: tf.function(f, autograph=False)(), solver, problem)
    expected = problem.minimizer(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-9, atol=1e-10)
    assert np.all(result.steps < 3000)


def test_each_task_stops_independently(run):
    problem, tensors = of_different_difficulty()
    solver = GradientDescent(steps=200, learning_rate=0.3, tolerance=1e-3)
    result = minimize(run, solver, problem, tensors)
    steps = result.steps.numpy()
    assert 0 < steps[1] < steps[2] < 200
    # A task that has stopped is where it would be after as many steps alone.
    for task in (1, 2):
        exact = GradientDescent(steps=int(steps[task]), learning_rate=0.3)
        task_result = minimize(run, exact, problem, tensors)
        np.testing.assert_array_equal(result.phi[task], task_result.phi[task])
    residual = np.linalg.norm(inner_problem(problem, tensors).gradient(result.phi), axis=1)
    assert np.all(residual[1:] <= 1e-3 * result.initial_gradient_norm[1:])


def test_a_task_that_starts_at_its_minimum_takes_no_step():
    problem, tensors = of_different_difficulty()
    exact = tf.einsum("ij,j->i", tf.eye(3, dtype=tf.float64), problem.theta)
    y = tf.tensor_scatter_nd_update(tensors.support_y, [[0]], [exact[:, None]])
    result = minimize(
        lambda f: f(),
        GradientDescent(steps=5, tolerance=1e-3),
        problem,
        tensors._replace(support_y=y),
    )
    assert result.steps.numpy().tolist() == [0, 5, 5]
    np.testing.assert_array_equal(result.phi[0], problem.theta)


def test_a_diverging_task_is_invalid_and_leaves_other_tasks_unchanged(run):
    problem, huge_tensors = with_a_huge_task()
    solver = GradientDescent(steps=5, learning_rate=0.05)
    clean_result = minimize(run, solver, problem)
    result = minimize(run, solver, problem, huge_tensors)
    assert result.valid.numpy().tolist() == [True, False, True]
    for task in (0, 2):
        np.testing.assert_array_equal(result.phi[task], clean_result.phi[task])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_for_strong_convexity_is_that_of_the_theory(run, nesterov):
    problem = problems.LinearRegression()
    root = np.sqrt(0.05 * STRENGTH)
    theoretical_momentum = (1 - root) / (1 + root)
    results = [
        minimize(run, GradientDescent(7, 0.05, momentum, nesterov), problem)
        for momentum in ("strongly_convex", theoretical_momentum)
    ]
    np.testing.assert_allclose(results[0].phi, results[1].phi, rtol=1e-10)
    expected = in_numpy(problem, 7, 0.05, theoretical_momentum, nesterov)
    np.testing.assert_allclose(results[0].phi, expected, rtol=1e-10)


def test_momentum_for_strong_convexity_takes_the_smallest_strength():
    problem = problems.LinearRegression()
    strength = np.geomspace(STRENGTH, 5.0, 6)
    inner = inner_problem(problem, strength=strength)
    root = np.sqrt(0.05 * STRENGTH)
    solver = GradientDescent(7, 0.05, "strongly_convex")
    expected_solver = GradientDescent(7, 0.05, (1 - root) / (1 + root))
    np.testing.assert_allclose(
        solver.minimize(inner).phi, expected_solver.minimize(inner).phi, rtol=1e-10
    )
    # A step so long that lambda alone would overshoot: no momentum, rather than a negative one.
    long = GradientDescent(2, 2 / STRENGTH, "strongly_convex").minimize(inner).phi
    plain = GradientDescent(2, 2 / STRENGTH).minimize(inner).phi
    np.testing.assert_allclose(long, plain, rtol=1e-12)


@pytest.mark.slow
def test_momentum_for_strong_convexity_converges_as_fast_as_the_theory():
    problem = problems.LinearRegression()
    largest = np.linalg.eigvalsh(problem.hessian).max() + STRENGTH
    rate, inner = 1 / largest, inner_problem(problem)
    best = inner.value(tf.constant(problem.minimizer(problem.theta, STRENGTH))).numpy()
    accelerated = GradientDescent(1, rate, "strongly_convex", nesterov=True)
    gaps = {
        (name, steps): graph(replace(solver, steps=steps).minimize, inner)
        for name, solver in [("plain", GradientDescent(1, rate)), ("fast", accelerated)]
        for steps in (10, 20, 40)
    }
    gaps = {key: inner.value(solution.phi).numpy() - best for key, solution in gaps.items()}
    # Nesterov, 2004, theorem 2.2.3: G - G* <= (1 - sqrt(q))^k (G_0 - G* + lambda/2 |start|^2).
    displacement = problem.theta - problem.minimizer(problem.theta, STRENGTH)
    first = (
        inner.value(inner.start()).numpy() - best + STRENGTH / 2 * np.sum(displacement**2, axis=1)
    )
    for steps in (10, 20, 40):
        assert np.all(gaps["fast", steps] <= (1 - np.sqrt(rate * STRENGTH)) ** steps * first)
    assert np.all(gaps["fast", 40] < gaps["plain", 40])


def test_short_steps_go_down():
    problem = problems.LinearRegression()
    largest = np.linalg.eigvalsh(problem.hessian).max() + STRENGTH
    values = path(lambda n: GradientDescent(n, 1 / largest), 5, inner_problem(problem))
    assert np.all(np.diff(values, axis=0) < 0)


@pytest.mark.parametrize("tolerance", [0.0, 1e-12])
@pytest.mark.parametrize("nesterov", [False, True])
def test_reports_the_gradient_that_it_took_last(tolerance, nesterov):
    problem = problems.LinearRegression()
    solver = GradientDescent(4, 0.05, 0.8, nesterov, tolerance)
    result = minimize(graph, solver, problem)
    before, two_before = (in_numpy(problem, n, 0.05, 0.8, nesterov) for n in (3, 2))
    point = before + 0.8 * (before - two_before) if nesterov else before
    expected = np.linalg.norm(gradient(problem, point), axis=1)
    np.testing.assert_allclose(result.gradient_norm, expected, rtol=1e-9)
    assert result.gradients.numpy().tolist() == result.steps.numpy().tolist() == [4, 4, 4]


def test_the_number_of_tasks_may_be_unknown():
    problem = problems.LinearRegression()
    solver = GradientDescent(3, 0.1, momentum=0.5, tolerance=1e-6)
    expected = minimize(lambda f: f(), solver, problem)

    @tf.function(
        input_signature=[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in problem.tensors[:4]],
        autograph=False,
    )
    def minimize_any(*parts):
        return solver.minimize(inner_problem(problem, type(problem.tensors)(*parts)))

    np.testing.assert_allclose(minimize_any(*problem.tensors[:4]).phi, expected.phi, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": -1},
        {"steps": 1.5},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": "best"},
        {"momentum": 0.5},
        {"momentum": "strongly_convex"},
        {"momentum": 1.0, "learning_rate": 0.1},
        {"momentum": 1.5, "learning_rate": 0.1},
        {"momentum": -0.1, "learning_rate": 0.1},
        {"momentum": "convex", "learning_rate": 0.1},
        {"momentum": "", "learning_rate": 0.1},
        {"momentum": 0.0, "nesterov": True},
        {"tolerance": -1e-3},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        GradientDescent(**arguments)


def test_no_steps_and_one_are_settings():
    assert GradientDescent(steps=0).steps == 0
    assert GradientDescent(steps=1).steps == 1


@pytest.mark.parametrize(
    ("momentum", "nesterov", "limit"),
    [(0.0, False, 2.0), (0.5, False, 3.0), (0.5, True, 1.5), (0.9, True, 2 * 1.9 / 2.8)],
)
def test_steps_at_the_limit_of_stability_are_refused(momentum, nesterov, limit):
    strength = 0.5
    GradientDescent(2, 0.999 * limit / strength, momentum, nesterov).check_stable(strength)
    for learning_rate in (limit / strength, 1.001 * limit / strength):
        with pytest.raises(ValueError, match="Invalid value for `learning_rate`.*steps of a long"):
            GradientDescent(2, learning_rate, momentum, nesterov).check_stable(strength)
