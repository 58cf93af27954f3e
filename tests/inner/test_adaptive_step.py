"""Step sizes that follow the curvature: safe whatever the scale, and as good as a tuned one."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.inner import GradientDescent
from tests import problems
from tests.inner.inner_problems import STRENGTH, Function, graph, inner_problem, minimize, path


def in_numpy(problem, steps):
    """Algorithm 1 of Malitsky and Mishchenko, task by task, after a short first step."""
    solutions = []
    for hessian, linear in zip(problem.hessian, problem.linear, strict=True):
        slope = lambda phi, h=hessian, b=linear: h @ phi - b + STRENGTH * (phi - problem.theta)  # noqa: E731
        phi, growth = problem.theta, 1 / 3
        gradient = slope(phi)
        rate = 1e-3 * np.sqrt((phi @ phi + 1e-6) / (gradient @ gradient))
        for step in range(steps):
            rate = min(rate, 1 / STRENGTH)
            after = phi - rate * gradient
            following = slope(after)
            curvature = np.linalg.norm(following - gradient) / np.linalg.norm(after - phi)
            excess = 2 * (rate * curvature) ** 2 - 1
            shrunk = rate / np.sqrt(excess) if excess > 0 else np.inf
            longer = min(rate * np.sqrt(2 / 3 + growth), shrunk)
            longer = 1 / (np.sqrt(2) * curvature) if step == 0 else longer
            longer = min(longer, 1 / STRENGTH)
            growth = 1 / 3 if step == 0 else longer / rate
            phi, gradient, rate = after, following, longer
        solutions.append(phi)
    return np.stack(solutions)


def test_it_equals_the_published_algorithm(run):
    problem = problems.LinearRegression()
    result = minimize(run, GradientDescent(9), problem)
    np.testing.assert_allclose(result.phi, in_numpy(problem, 9), rtol=1e-9)
    assert result.gradients.numpy().tolist() == [9, 9, 9]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_converges_whatever_the_scale_of_the_loss(scale):
    """No setting is in units of the loss."""
    inner = Function(lambda x: 0.5 * scale * tf.square(x - 1), [3.0, -2.0])
    result = GradientDescent(40).minimize(inner)
    assert np.all(result.valid)
    np.testing.assert_allclose(result.phi, 1.0, atol=1e-6)


def test_it_converges_in_single_precision():
    problem = problems.LinearRegression(dtype="float32")
    result = minimize(graph, GradientDescent(200), problem)
    expected = problem.minimizer(problem.theta, STRENGTH)
    np.testing.assert_allclose(result.phi, expected, rtol=1e-3, atol=1e-4)


def test_it_descends_on_a_function_that_is_not_convex():
    inner = Function(lambda x: 50 * tf.cos(3 * x) + x**4, [0.3])
    values = path(GradientDescent, 12, inner)
    assert np.all(np.isfinite(values)) and values[-1] < values[0] - 40


@pytest.mark.parametrize("hidden", [(8,), (16, 16)])
def test_no_task_of_a_fresh_network_ends_higher_than_it_began(hidden):
    x, y = (np.random.default_rng(i).normal(size=(16, 5, 2), scale=5) for i in (0, 1))
    keras.utils.set_random_seed(0)
    model = ki.models.MLP(2, (2,), hidden=hidden, dtype="float64")
    loss = keras.losses.MeanSquaredError(dtype="float64")
    learner = ki.MetaLearner(model, ki.IMAML(0.01))
    learner.compile(loss=loss)
    objective = learner.objective(((x, y), (x, y)), training=True)
    solution = graph(learner.algorithm.adapt, objective)
    assert np.all(solution.valid)
    assert np.all(solution.value < 0.99 * solution.initial_value)


@pytest.mark.slow
def test_it_ends_as_low_as_the_best_of_many_fixed_step_sizes():
    problem = problems.Images(activation="softplus")
    inner = inner_problem(problem, strength=0.2)
    ends = lambda solver: inner.value(graph(solver.minimize, inner).phi).numpy().mean()  # noqa: E731
    fixed = [ends(GradientDescent(16, rate)) for rate in (0.003, 0.01, 0.03, 0.1, 0.3)]
    assert ends(GradientDescent(16)) < 1.1 * np.nanmin(fixed)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_maml_differentiates_the_step_sizes_too(recompute):
    problem = problems.LinearRegression()
    algorithm = ki.MAML(GradientDescent(4), proximal_strength=0.3, recompute=recompute)
    objective = problems.objective_of(problem)
    algorithm.prepare(objective.parameters)
    variables = problem.model.trainable_variables
    meta = graph(lambda: algorithm.meta_gradient(objective, variables))
    loss = tf.function(
        lambda: tf.reduce_mean(algorithm.meta_gradient(objective, variables).query_losses),
        autograph=False,
    )
    problems.check_by_differences(loss, variables, meta.gradients)


@pytest.mark.parametrize(
    ("solver", "strength"),
    [
        (GradientDescent(16, 0.1), 20.0),
        (GradientDescent(16, 2.0), 1.0),
        (GradientDescent(16, 0.1, 0.5), 30.0),
        (GradientDescent(16, 0.1, 0.5, nesterov=True), 15.0),
    ],
    ids=str,
)
def test_a_step_size_that_cannot_be_stable_is_refused(solver, strength):
    of_layers = ki.ProximalStrength({"default": 0.1, "head": strength}, per="layer")
    for make in (
        lambda: ki.IMAML(strength, solver),
        lambda: ki.IMAML(of_layers, solver),
        lambda: ki.MAML(solver, proximal_strength=strength),
    ):
        with pytest.raises(
            ValueError, match="`learning_rate`.*'auto', or a number below.*Received"
        ):
            make()
    # The bound is exact: just below it, steps on the proximal term alone shrink.
    ki.IMAML(0.99 * strength, solver)
    for share, shrinks in ((0.95, True), (1.05, False)):
        inner = Function(lambda x, s=share: 0.5 * s * strength * tf.square(x), [1.0])
        end = abs(dataclasses.replace(solver, steps=60).minimize(inner).phi.numpy().item())
        assert (end < 1) == shrinks
