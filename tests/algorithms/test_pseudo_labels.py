"""Guessed labels: their marginals, their optimality, and extreme logits."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.algorithms.pseudo_labels import (
    WithPseudoLabels,
    pseudo_label_losses,
    pseudo_labels,
)
from tests import problems


def logits(tasks=3, examples=12, classes=4, scale=3.0, dtype="float64"):
    rng = np.random.default_rng(0)
    return rng.normal(scale=scale, size=(tasks, examples, classes)).astype(dtype)


def softmax(z):
    shifted = np.exp(z - z.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def test_without_balance_they_are_sharpened_probabilities(run):
    z = logits()
    labels = run(lambda z: pseudo_labels(z, 0.5, balanced=False), tf.constant(z))
    np.testing.assert_allclose(labels, softmax(2 * z), rtol=1e-12)


def test_balanced_ones_give_each_class_as_many_examples(run):
    z = logits()
    labels = run(lambda z: pseudo_labels(z, 0.5, balanced=True), tf.constant(z)).numpy()
    np.testing.assert_allclose(labels.sum(axis=2), 1, rtol=1e-12)
    np.testing.assert_allclose(labels.sum(axis=1), 12 / 4, rtol=5e-3)
    # The nearest by relative entropy differ from the sharpened ones by a factor for each example
    # and one for each class.
    log_factors = np.log(labels) - 2 * z
    residual = (
        log_factors
        - log_factors.mean(axis=1, keepdims=True)
        - log_factors.mean(axis=2, keepdims=True)
    )
    np.testing.assert_allclose(
        residual, residual.mean(axis=(1, 2), keepdims=True) + 0 * residual, atol=1e-9
    )


def test_balance_changes_nothing_that_is_balanced():
    z = np.log(np.tile(np.eye(3) + 0.1, (1, 2, 1)))
    np.testing.assert_allclose(
        pseudo_labels(tf.constant(z), 1.0, balanced=True), softmax(z), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("balanced", [False, True])
def test_extreme_logits_give_finite_labels(balanced, dtype):
    z = logits(scale=1e4, dtype=dtype)
    z[0, :, 0] += 1e6  # nobody takes the other classes by himself
    labels = pseudo_labels(tf.constant(z), 0.1, balanced)
    assert labels.dtype == dtype
    assert np.isfinite(labels).all()
    np.testing.assert_allclose(np.sum(labels, axis=2), 1, rtol=1e-5)


def test_they_are_constants_to_a_derivative():
    z = tf.constant(logits())
    with tf.GradientTape() as tape:
        tape.watch(z)
        labels = pseudo_labels(z, 0.5, balanced=True)
    assert tape.gradient(labels, z) is None


def test_the_loss_is_the_mean_cross_entropy_of_a_task(run):
    z, labels = logits(), softmax(logits(scale=1.0))
    expected = -(labels * np.log(softmax(z))).sum(axis=2).mean(axis=1)
    losses = run(pseudo_label_losses, tf.constant(labels), tf.constant(z))
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@pytest.mark.parametrize("balanced", [False, True])
def test_places_of_an_example_are_guessed_as_examples_are(run, balanced):
    flat = tf.constant(logits(tasks=2))
    places = tf.reshape(flat, [2, 3, 4, 4])  # three examples of four tokens
    expected = pseudo_labels(flat, 0.5, balanced)
    labels = run(lambda z: pseudo_labels(z, 0.5, balanced), places)
    np.testing.assert_allclose(labels, tf.reshape(expected, places.shape), rtol=1e-12)
    losses = run(pseudo_label_losses, labels, places)
    np.testing.assert_allclose(losses, pseudo_label_losses(expected, flat), rtol=1e-12)


def test_labels_add_their_loss_of_the_query_outputs_to_the_support_loss():
    problem = problems.Images()
    objective = problems.objective_of(problem)
    phi = objective.parameters.broadcast(objective.parameters.theta(), 2)
    labels = tf.nn.softmax(tf.constant(np.random.default_rng(3).normal(size=(2, 9, 3))))
    labelled = WithPseudoLabels(objective, labels)
    added = labelled.support_losses(phi) - objective.support_losses(phi)
    expected = pseudo_label_losses(labels, objective.query(phi).outputs)
    np.testing.assert_allclose(added, expected, rtol=1e-9)
    # What is made of it keeps the labels of its tasks.
    second = labelled.part(1, 1)
    np.testing.assert_allclose(
        second.support_losses(phi[1:]), labelled.support_losses(phi)[1:], rtol=1e-9
    )
    cleared_labels = labelled.without(tf.constant([True, False]))
    assert cleared_labels.valid.numpy().tolist() == [False, True]
    assert np.all(cleared_labels.labels[0].numpy() == 0)
    assert np.all(cleared_labels.labels[1].numpy() > 0)
