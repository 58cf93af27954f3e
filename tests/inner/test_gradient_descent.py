"""Gradient descent against the same loop in NumPy, and when it stops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import GradientDescent
from keras_imaml.objective import InnerProblem
from tests import problems

STRENGTH = 0.7


def inner_problem(problem, tensors=None):
    objective = problems.objective_of(problem, tensors=tensors)
    strength = tf.constant(STRENGTH, objective.parameters.dtype)
    return InnerProblem(objective, objective.parameters.theta(), strength)


def minimize(run, solver, problem, tensors=None):
    inner = inner_problem(problem, tensors)
    return run(lambda: solver.minimize(inner))


def in_numpy(problem, steps, learning_rate, momentum, nesterov):
    phi = np.tile(problem.theta, (3, 1))
    velocity = np.zeros_like(phi)
    for _ in range(steps):
        ahead = phi + momentum * velocity if nesterov else phi
        gradient = np.einsum("tij,tj->ti", problem.hessian, ahead) - problem.linear
        gradient += STRENGTH * (ahead - problem.theta)
        velocity = momentum * velocity - learning_rate * gradient
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
    assert np.all(result.sound)
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
def test_converges_to_the_minimiser(nesterov):
    problem = problems.LinearRegression()
    solver = GradientDescent(
        steps=3000, learning_rate=0.1, momentum=0.5, nesterov=nesterov, tolerance=1e-11
    )
    result = minimize(lambda f: tf.function(f)(), solver, problem)
    expected = problem.minimiser(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-9, atol=1e-10)
    assert np.all(result.steps < 3000)


def of_different_difficulty():
    """The first task starts at its minimum, the second is well conditioned, the third is not."""
    problem = problems.LinearRegression(size=3, support=3)
    x = np.stack([np.eye(3), np.eye(3), np.diag([0.2, 1.0, 2.0])])
    y = np.stack([x[0] @ problem.theta, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])[..., None]
    tensors = problem.tensors._replace(support_x=tf.constant(x), support_y=tf.constant(y))
    return problem, tensors


def test_each_task_stops_by_itself(run):
    problem, tensors = of_different_difficulty()
    solver = GradientDescent(steps=200, learning_rate=0.3, tolerance=1e-3)
    result = minimize(run, solver, problem, tensors)
    steps = result.steps.numpy()
    assert 0 < steps[1] < steps[2] < 200
    # A task that has stopped is where it would be after as many steps alone.
    for task in (1, 2):
        exact = GradientDescent(steps=int(steps[task]), learning_rate=0.3)
        alone = minimize(run, exact, problem, tensors)
        np.testing.assert_array_equal(result.phi[task], alone.phi[task])
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


def test_a_diverging_task_is_not_sound_and_leaves_the_others(run):
    problem = problems.LinearRegression(dtype="float32")
    x = problem.data.support_x.copy()
    x[1] *= 1e18
    huge = problem.tensors._replace(support_x=tf.constant(x))
    solver = GradientDescent(steps=5, learning_rate=0.05)
    clean = minimize(run, solver, problem)
    result = minimize(run, solver, problem, huge)
    assert result.sound.numpy().tolist() == [True, False, True]
    for task in (0, 2):
        np.testing.assert_array_equal(result.phi[task], clean.phi[task])


def test_the_number_of_tasks_may_be_unknown():
    problem = problems.LinearRegression()
    solver = GradientDescent(steps=3, momentum=0.5, tolerance=1e-6)
    expected = minimize(lambda f: f(), solver, problem)

    @tf.function(
        input_signature=[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in problem.tensors]
    )
    def minimize_any(*parts):
        return solver.minimize(inner_problem(problem, type(problem.tensors)(*parts)))

    np.testing.assert_allclose(minimize_any(*problem.tensors).phi, expected.phi, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"momentum": 0.0, "nesterov": True},
        {"tolerance": -1e-3},
    ],
    ids=str,
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        GradientDescent(**arguments)


def test_configuration_round_trip():
    solver = GradientDescent(steps=3, learning_rate=0.2, momentum=0.9, nesterov=True)
    config = keras.saving.serialize_keras_object(solver)
    assert keras.saving.deserialize_keras_object(config) == solver
