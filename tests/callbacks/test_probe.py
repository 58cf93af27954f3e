"""A probe measures what training computes, on a meta-batch that stays the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.callbacks.probe import Probe

TASKS, EXAMPLES = 4, 6


def learner_of(algorithm, tasks_per_chunk=None):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    )
    learner = ki.MetaLearner(network, algorithm, tasks_per_chunk=tasks_per_chunk)
    learner.compile("sgd", "mse")
    return learner


def data():
    x, query_x = np.random.default_rng(0).normal(size=(2, TASKS, EXAMPLES, 3)).astype("float32")
    y, query_y = (3 * np.sin(2 * x.sum(axis=-1, keepdims=True)) for x in (x, query_x))
    return (x, y), (query_x, query_y)


@pytest.mark.parametrize(
    ("curvature", "tasks_per_chunk"),
    [
        ("hessian", None),
        pytest.param("gauss_newton", None, marks=pytest.mark.slow),
        pytest.param("hessian", 2, marks=pytest.mark.slow),
    ],
)
def test_the_linear_systems_are_those_of_training(curvature, tasks_per_chunk):
    inner = ki.inner.GradientDescent(4, 0.01)
    linear = ki.linear.ConjugateGradient(max_steps=2)
    learner = learner_of(ki.IMAML(0.5, inner, linear, curvature=curvature), tasks_per_chunk)
    measured = Probe(tf.data.Dataset.from_tensors(data())).measure(learner)

    objective = learner.objective(data(), training=False)
    meta = learner.algorithm.meta_gradient(objective, learner.trainable_variables)
    assert np.all(meta.valid)
    if curvature == "hessian":  # some of the systems are indefinite
        assert 0 < float(meta.diagnostics["negative_curvature"]) < 1
    residuals = measured.residuals
    assert len(residuals) == 5 and residuals[0] == 1.0
    expected = float(meta.diagnostics["linear_residual"])
    assert residuals[2] == pytest.approx(expected, rel=1e-4)


def test_the_curvature_along_the_query_gradient_is_a_difference_of_gradients():
    learner = learner_of(ki.IMAML(0.1, ki.inner.GradientDescent(4, 0.01), curvature="hessian"))
    measured = Probe(tf.data.Dataset.from_tensors(data())).measure(learner)
    objective = learner.objective(data(), training=False)
    phi = learner.algorithm.adapt(objective).phi
    with tf.GradientTape() as tape:
        tape.watch(phi)
        losses, _ = objective.query_losses(phi)
    direction = tf.math.l2_normalize(tape.gradient(losses, phi), axis=1)
    problem = learner.algorithm.inner_problem(objective)
    gradients = [problem.gradient(phi + step * direction) for step in (0.01, -0.01)]
    curvatures = tf.reduce_sum(direction * (gradients[0] - gradients[1]), axis=1) / 0.02
    expected = float(tf.reduce_mean(curvatures)) - 0.1  # without that of the proximal term
    assert measured.after["curvature/along_query_gradient"] == pytest.approx(expected, rel=1e-2)
