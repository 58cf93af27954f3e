"""Accuracies by the loss and metrics of `compile`, against values by hand."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._utils.accuracy import accuracies, predicted_classes
from keras_imaml.learner.step_metrics import check_metric_names
from keras_imaml.learner.task_metrics import TaskMetrics

NAMES = {"bad_tasks", "transductive", "distance", "linear_residual"}
losses = keras.losses
SCORES = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.9, 0.0, 0.1], [0.0, 0.2, 0.7]]  # largest: 0, 1, 0, 2
ONE_HOT = np.eye(3)[[0, 1, 1, 1]].tolist()
SINGLE = [[0.2], [0.7], [-0.3], [0.4]]
YES = [[1.0], [1.0], [0.0], [0.0]]

# Loss, labels, outputs, and the share that is right; None: no classification.
CASES = {
    "sparse": (losses.SparseCategoricalCrossentropy(), [0, 1, 1, 1], SCORES, 0.5),
    "sparse, string": ("sparse_categorical_crossentropy", [0, 1, 0, 1], SCORES, 0.75),
    "sparse, function": (losses.sparse_categorical_crossentropy, [0, 1, 0, 1], SCORES, 0.75),
    "sparse, column": ("SparseCategoricalCrossentropy", [[0], [1], [1], [1]], SCORES, 0.5),
    "sparse, floats": (losses.SparseCategoricalCrossentropy(), [0.0, 1.0, 1.0, 1.0], SCORES, 0.5),
    "sparse, another name": (
        losses.SparseCategoricalCrossentropy(name="mine"),
        [0, 1, 1, 1],
        SCORES,
        0.5,
    ),
    "ignored class": (
        losses.SparseCategoricalCrossentropy(ignore_class=2),
        [0, 2, 1, 2],
        SCORES,
        0.5,
    ),
    "ignored -100": (
        losses.SparseCategoricalCrossentropy(ignore_class=-100),
        [0, -100, 0, 1],
        SCORES,
        2 / 3,
    ),
    "ignored, partial": (
        functools.partial(losses.sparse_categorical_crossentropy, ignore_class=1),
        [0, 1, 1, 0],
        SCORES,
        0.5,
    ),
    "void pixels": (
        losses.SparseCategoricalCrossentropy(ignore_class=255),
        [[0, 1], [255, 1]],
        [SCORES[:2], SCORES[2:]],
        2 / 3,
    ),
    "nothing counts": (
        losses.SparseCategoricalCrossentropy(ignore_class=0),
        [0, 0, 0, 0],
        SCORES,
        np.nan,
    ),
    "classes first": (
        losses.SparseCategoricalCrossentropy(axis=1),
        [[0, 1, 1, 1]],
        [np.transpose(SCORES).tolist()],
        0.5,
    ),
    "ce, sparse": ("ce", [0, 1, 1, 1], SCORES, 0.5),
    "crossentropy, one-hot": ("crossentropy", ONE_HOT, SCORES, 0.5),
    "crossentropy, binary": ("crossentropy", YES, SINGLE, 0.75),
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, SCORES, 0.5),
    "categorical focal": (losses.CategoricalFocalCrossentropy(), ONE_HOT, SCORES, 0.5),
    "binary, probabilities": (losses.BinaryCrossentropy(), YES, SINGLE, 0.75),
    "binary, logits": (losses.BinaryCrossentropy(from_logits=True), YES, SINGLE, 0.75),
    "binary, labels in a row": (losses.BinaryCrossentropy(), [1, 1, 0, 0], SINGLE, 0.75),
    "binary focal": (losses.BinaryFocalCrossentropy(from_logits=True), YES, SINGLE, 0.75),
    "binary, several labels": ("bce", [[1.0, 0.0]] * 2, [[0.9, 0.1], [0.4, 0.2]], 0.75),
    "one of one": ({"out": "sparse_categorical_crossentropy"}, [0, 1, 1, 1], SCORES, 0.5),
    "counts": (losses.Poisson(), [0, 1, 1, 1], SCORES, None),
    "mse": ("mse", [0, 1, 1, 1], SCORES, None),
    "kld": (losses.KLDivergence(), ONE_HOT, SCORES, None),
    "hinge": ("hinge", YES, SINGLE, None),
    "quantiles": (lambda y, q: tf.reduce_mean(tf.abs(q - y)), [0, 1, 1, 1], SCORES, None),
}


@pytest.mark.parametrize("case", CASES)
def test_accuracy_follows_the_loss(case):
    loss, labels, outputs, expected = CASES[case]
    accuracy = accuracies(loss, tf.constant([labels]), tf.constant([outputs]))
    if expected is None:
        assert accuracy is None
    else:
        np.testing.assert_allclose(accuracy, [expected])


def test_the_probe_predicts_only_class_numbers():
    labels, outputs = tf.constant([[0, 1, 1, 1]]), tf.constant([SCORES])
    predictions = predicted_classes("ce", labels, outputs)
    np.testing.assert_array_equal(predictions, [[0, 1, 0, 2]])
    assert predicted_classes("poisson", labels, outputs) is None


def test_metrics_of_compile_are_taken_task_by_task():
    labels = np.array([[0, 1, 1, 1], [0, 1, 0, 2], [2, 1, 0, 0]])
    outputs = np.array([SCORES] * 3, "float32")
    learner = ki.MetaLearner(ki.models.MLP(3, input_shape=(2,), hidden=()), ki.Reptile())
    iou = keras.metrics.IoU(3, [0, 2], sparse_y_pred=False, name="iou")
    learner.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy", iou])
    results = TaskMetrics(learner)(tf.constant(labels), tf.constant(outputs))
    np.testing.assert_allclose(results["accuracy"], [0.5, 1.0, 0.5])
    # Predicted are 0, 1, 0, 2: class 0 overlaps by 1/2, 1, 1/3, class 2 by 0, 1, 0.
    np.testing.assert_allclose(results["iou"], [0.25, 1.0, 1 / 6], rtol=1e-6)
    assert not np.any(iou.total_cm.numpy())  # the learner's own metric saw nothing


def distance(y, outputs):
    return tf.reduce_mean(tf.abs(y - outputs), axis=-1)


@pytest.mark.parametrize(
    "metrics",
    [
        [keras.metrics.Mean(name="bad_tasks")],
        [distance],
        ["transductive"],
        {"out": keras.metrics.MeanSquaredError(name="linear_residual")},
    ],
)
def test_a_metric_named_like_a_diagnostic_is_refused(metrics):
    with pytest.raises(ValueError, match="give this one another name"):
        check_metric_names((metrics, None), NAMES)
    check_metric_names((["accuracy", None, "mse"], None), NAMES)


def test_compile_looks_at_the_names_of_metrics():
    learner = ki.MetaLearner(ki.models.MLP(1, input_shape=(2,), hidden=()), ki.Reptile())
    clash = [keras.metrics.MeanSquaredError(name="bad_tasks")]
    for name in ("metrics", "weighted_metrics"):
        with pytest.raises(ValueError, match="named 'bad_tasks'"):
            learner.compile(loss="mse", **{name: clash})
