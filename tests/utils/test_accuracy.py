"""Accuracies are counted as the loss says, and not by the dtype of labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import losses

from keras_imaml._utils.accuracy import accuracies

CLASSES = tf.constant([[0, 1, 1], [2, 2, 0]])
LOGITS = tf.constant(
    [[[3.0, 1, 0], [0, 2, 1], [5, 0, 0]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]], tf.float32
)
YES = tf.constant([[[1.0], [0]], [[1], [1]]])
SCORES = tf.constant([[[0.4], [-0.1]], [[-2.0], [0.7]]])


@pytest.mark.parametrize(
    ("loss", "labels", "outputs", "expected"),
    [
        (losses.SparseCategoricalCrossentropy(True), CLASSES, LOGITS, [2 / 3, 1 / 3]),
        (losses.SparseCategoricalCrossentropy(True, 1), CLASSES, LOGITS, [1, 1 / 3]),
        (losses.SparseCategoricalCrossentropy(name="mine"), CLASSES, LOGITS, [2 / 3, 1 / 3]),
        ("sparse_categorical_crossentropy", CLASSES[..., None], LOGITS, [2 / 3, 1 / 3]),
        (losses.sparse_categorical_crossentropy, CLASSES, LOGITS, [2 / 3, 1 / 3]),
        (losses.CategoricalCrossentropy(), tf.one_hot(CLASSES, 3), LOGITS, [2 / 3, 1 / 3]),
        ("categorical_focal_crossentropy", tf.one_hot(CLASSES, 3), LOGITS, [2 / 3, 1 / 3]),
        (losses.BinaryCrossentropy(from_logits=True), YES, SCORES, [1, 1 / 2]),
        (losses.BinaryFocalCrossentropy(), YES, SCORES, [1 / 2, 1 / 2]),
        (losses.BinaryCrossentropy(from_logits=True), YES[..., 0], SCORES, [1, 1 / 2]),
        ("crossentropy", CLASSES, LOGITS, [2 / 3, 1 / 3]),
        ("ce", YES, SCORES, [1 / 2, 1 / 2]),
    ],
)
def test_cross_entropies_count_as_keras_does(loss, labels, outputs, expected):
    np.testing.assert_allclose(accuracies(labels, outputs, loss), expected)


@pytest.mark.parametrize(
    "loss",
    ["mse", losses.Poisson(), "mae", losses.Huber(), lambda y, z: tf.reduce_mean(z), ["mse"]],
)
def test_other_losses_have_none(loss):
    assert accuracies(CLASSES, LOGITS, loss) is None


def test_a_metric_of_compile_says_that_there_are_classes():
    loss = lambda y, z: tf.reduce_mean(z)  # noqa: E731
    shares = accuracies(CLASSES, LOGITS, loss, [["accuracy", keras.metrics.MeanSquaredError()]])
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3])


def test_a_task_of_ignored_labels_has_none():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=2)
    shares = accuracies(tf.constant([[2, 2, 2], [0, 2, 1]]), LOGITS, loss)
    np.testing.assert_allclose(shares, [np.nan, 0.5])


def test_networks_of_several_outputs_have_none():
    assert accuracies({"a": CLASSES}, {"a": LOGITS}, {"a": "ce"}) is None
