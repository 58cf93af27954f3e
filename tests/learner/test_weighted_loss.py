"""The loss of `compile` for the examples that are there."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.weighted_loss import weighted_loss

WEIGHTS = np.array([0.0, 2.0, 0.5, 0.0, 1.0])
PRESENT = WEIGHTS > 0
RNG = np.random.default_rng(0)
LOGITS, SEQUENCE = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 4, 3))
LABELS = np.array([0, 1, 2, 0, 1])
TOKENS = np.array([[0, 1, -1, 2], [-1, -1, 0, 1], [2, 2, 2, 2], [0, -1, -1, -1], [-1, 1, 0, 0]])
sparse = keras.losses.SparseCategoricalCrossentropy


def compiled_loss(loss, y, outputs):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    model._compile_loss.build(tf.constant(y), tf.constant(outputs))
    return model._compile_loss


@pytest.mark.parametrize(
    ("loss", "y", "outputs"),
    [
        (sparse(from_logits=True), LABELS, LOGITS),
        (sparse(from_logits=True, reduction="sum"), LABELS, LOGITS),
        (sparse(from_logits=True, reduction="mean_with_sample_weight"), LABELS, LOGITS),
        (sparse(from_logits=True, ignore_class=1), LABELS, LOGITS),
        (sparse(from_logits=True), np.abs(TOKENS), SEQUENCE),
        (sparse(from_logits=True, ignore_class=-1), TOKENS, SEQUENCE),
        ("mse", LOGITS + 1, LOGITS),
        (keras.losses.Huber(), SEQUENCE**2, SEQUENCE),
        (lambda y, z: tf.reduce_sum(tf.abs(y - z), axis=-1), LOGITS + 1, LOGITS),
    ],
)
def test_it_equals_the_keras_loss_of_the_present_examples(loss, y, outputs):
    keras_loss = compiled_loss(loss, y, outputs)
    present_data = [tf.constant(part[PRESENT]) for part in (y, outputs, WEIGHTS)]
    shape = [-1] + [1] * (np.ndim(outputs) - 2)  # as Keras needs it
    present_data[2] = tf.reshape(present_data[2], shape)
    expected = keras_loss(*present_data)
    data = [tf.constant(part) for part in (y, outputs, WEIGHTS)]
    result = weighted_loss(keras_loss, loss, *data)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    ones = tf.constant(np.ones(5))
    unweighted_loss = keras_loss(*data[:2])
    np.testing.assert_allclose(
        weighted_loss(keras_loss, loss, *data[:2], ones), unweighted_loss, rtol=1e-6
    )


def test_several_outputs_share_the_weights():
    y, outputs = [LABELS, LOGITS + 1.0], [LOGITS, LOGITS]
    x = keras.Input((1,))
    model = keras.Model(x, [keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)])
    losses = [sparse(from_logits=True), "mse"]
    model.compile("sgd", losses)
    data = keras.tree.map_structure(tf.constant, (y, outputs))
    present_data = keras.tree.map_structure(lambda part: tf.constant(part[PRESENT]), (y, outputs))
    model._compile_loss.build(*present_data)
    weights = tf.constant(WEIGHTS)
    expected = model._compile_loss(*present_data, [tf.constant(WEIGHTS[PRESENT])] * 2)
    result = weighted_loss(model._compile_loss, losses, *data, weights)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "loss", [lambda y, z: tf.reduce_mean((y - z) ** 2), keras.losses.Tversky()]
)
def test_a_loss_of_all_examples_together_is_refused(loss):
    learner = ki.MetaLearner(ki.models.MLP(1, hidden=(2,)), ki.MAML())
    learner.compile("sgd", loss)
    x, weights = np.ones([2, 3, 1], "float32"), np.ones([2, 3])
    with pytest.raises(ValueError, match="loss of each example"):
        learner.train_on_batch((x, x, weights), (x, x, weights))
