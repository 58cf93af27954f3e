"""An inner loss of its own, and meta-gradients of what enters the inner objective."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import problems
from tests.learner import hyperparameters

pytestmark = pytest.mark.usefixtures("in_double_precision")


def exact(curvature="hessian", **settings):
    """iMAML whose inner problem and linear system are solved to rounding."""
    return ki.IMAML(
        settings.pop("proximal_strength", 0.5),
        inner=ki.inner.NewtonCG(
            steps=20, linear_steps=20, linear_tolerance=1e-3, curvature="hessian", **settings
        ),
        linear=ki.linear.ConjugateGradient(max_steps=60, tolerance=1e-14),
        curvature=curvature,
    )


ALGORITHMS = {
    "imaml": exact,
    "maml_nesterov_clipped": lambda: ki.MAML(
        ki.inner.GradientDescent(3, 0.2, momentum=0.5, nesterov=True, clip_norm=0.3)
    ),
    "maml_adam_recomputed": lambda: ki.MAML(ki.inner.Adam(3, 0.1, clip_value=0.2), recompute=True),
}


@functools.cache
def slopes(name):
    learner = hyperparameters.learner_of(ALGORITHMS[name]())
    return hyperparameters.slopes(learner, hyperparameters.tasks())


@pytest.mark.slow
@pytest.mark.parametrize("parameter", hyperparameters.NAMES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_hyperparameters_of_the_inner_objective_equal_finite_differences(algorithm, parameter):
    gradient, expected = slopes(algorithm)[parameter]
    assert abs(expected) > 1e-4
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def ridge(penalties=None, **layer):
    """A linear regression with a learned decay, and its learner."""
    problem = problems.LinearRegression(size=3)
    head = hyperparameters.RidgeDense(1, use_bias=False, **layer)
    model = keras.Sequential([keras.Input((3,)), head])
    learner = ki.MetaLearner(model, exact("gauss_newton"), adapt="kernel")
    learner.compile(optimizer="sgd", loss="mse", outer_penalties=penalties)
    return problem, head, learner


def ridge_slopes(learner, problem):
    data = (problem.data[:2], problem.data[2:4])
    objective = learner.objective(data, training=True)
    return learner.algorithm.meta_gradient(objective, learner.trainable_variables)


@pytest.mark.parametrize("penalties", [True, pytest.param(None, marks=pytest.mark.slow)])
def test_a_learned_decay_of_ridge_regression_has_the_closed_form(penalties):
    problem, head, learner = ridge(penalties)
    theta, decay, strength = np.ravel(head.kernel), np.exp(float(head.log_decay)), 0.5
    system = problem.hessian + (strength + 2 * decay) * np.eye(3)
    phi = np.linalg.solve(system, (problem.linear + strength * theta)[..., None])[..., 0]
    slope = problem.query_gradient(phi) + (2 * decay * phi if penalties else 0)
    w = np.linalg.solve(system, slope[..., None])[..., 0]
    expected = np.mean(np.sum(-2 * decay * phi * w, axis=1))
    direct_penalty = decay * np.mean(np.sum(phi**2, axis=1)) if penalties else 0
    meta = ridge_slopes(learner, problem)
    by_name = {v.name: g for v, g in zip(learner.trainable_variables, meta.gradients, strict=True)}
    np.testing.assert_allclose(by_name["log_decay"], expected + direct_penalty, rtol=1e-7)
    np.testing.assert_allclose(np.ravel(by_name["kernel"]), np.mean(strength * w, 0), rtol=1e-7)
    x, y = problem.data.query_x, problem.data.query_y
    errors = np.mean(np.square(np.einsum("tni,ti->tn", x, phi) - y[..., 0]))
    np.testing.assert_allclose(
        tf.reduce_mean(meta.query_losses), errors + direct_penalty, rtol=1e-7
    )
