"""The published code's meta-gradient, against its closed form on a quadratic."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners, problems

ReleasedIMAML = ki.algorithms.ReleasedIMAML


def test_equals_its_closed_form_on_a_quadratic(run):
    problem = problems.LinearRegression()
    rate, strength, damping, steps = 0.05, 2.0, 1.0, 3
    algorithm = ReleasedIMAML(
        strength,
        ki.inner.GradientDescent(steps, rate),
        ki.linear.ConjugateGradient(max_steps=50, tolerance=1e-13),
        damping,
    )
    algorithm.prepare(problems.objective_of(problem).parameters)
    variables = problem.model.trainable_variables

    def step(*parts):
        tasks = type(problem.tensors)(*parts)
        return algorithm.meta_gradient(problems.objective_of(problem, tensors=tasks), variables)

    meta = run(step, *problem.tensors)
    phi = np.broadcast_to(problem.theta, problem.linear.shape)
    for _ in range(steps):
        phi = phi - rate * (np.einsum("tij,tj->ti", problem.hessian, phi) - problem.linear)
    phi = phi - rate * strength * (phi - problem.theta)
    system = (1 + damping) * np.eye(phi.shape[1]) + problem.hessian / (strength + 10)
    expected = np.linalg.solve(system, problem.query_gradient(phi)[..., None])[..., 0]
    np.testing.assert_allclose(meta.per_task, expected, rtol=1e-8)
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), expected.mean(axis=0), rtol=1e-8)


def test_nothing_is_pulled_back_at_test_time():
    learner = learners.compiled(ki.models.MLP(2, (3,), hidden=(4,)), ReleasedIMAML(), loss="mse")
    plain = learners.compiled(
        learner.model, ki.MAML(ki.inner.GradientDescent(16, 0.1), first_order=True), loss="mse"
    )
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(5, size)).astype("float32") for size in (3, 2))
    np.testing.assert_allclose(
        learner.adapt_weights(x, y), plain.adapt_weights(x, y), rtol=1e-4, atol=1e-5
    )


def test_configuration_round_trip():
    algorithm = ReleasedIMAML(3.0, ki.inner.GradientDescent(5, 0.2), damping=0.5)
    restored_algorithm = ReleasedIMAML.from_config(algorithm.get_config())
    assert repr(restored_algorithm) == repr(algorithm)
    assert float(restored_algorithm.damping) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner": ki.inner.NewtonCG()}, "`inner`. Expected a keras_imaml.inner.GradientDescent"),
        ({"damping": -1.0}, "`damping`"),
        ({"proximal_strength": ki.ProximalStrength(1.0, learned=True)}, "that is not learned"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReleasedIMAML(**arguments)


def test_weights_that_do_not_adapt_are_refused():
    model = ki.models.MLP(2, (3,), hidden=(4,))
    with pytest.raises(ValueError, match="`adapt`. Expected None"):
        ki.MetaLearner(model, ReleasedIMAML(), adapt="head")
    assert tf.is_tensor(model(tf.zeros([1, 3])))
