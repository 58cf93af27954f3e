"""Accuracies by the loss and metrics of `compile`, against values by hand."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._utils.accuracy import accuracies, predicted_classes
from keras_imaml.learner.step_metrics import check_metric_names

NAMES = {"bad_tasks", "transductive", "distance", "linear_residual"}
losses = keras.losses
WIDE = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.9, 0.0, 0.1], [0.0, 0.2, 0.7]]  # largest: 0, 1, 0, 2
ONE_HOT = np.eye(3)[[0, 1, 1, 1]].tolist()
SINGLE = [[0.2], [0.7], [-0.3], [0.4]]
YES = [[1.0], [1.0], [0.0], [0.0]]

# Loss, labels, outputs, and the share that is right; None: no classification.
CASES = {
    "sparse": (losses.SparseCategoricalCrossentropy(), [0, 1, 1, 1], WIDE, 0.5),
    "sparse, string": ("sparse_categorical_crossentropy", [0, 1, 0, 1], WIDE, 0.75),
    "sparse, function": (losses.sparse_categorical_crossentropy, [0, 1, 0, 1], WIDE, 0.75),
    "sparse, column": ("SparseCategoricalCrossentropy", [[0], [1], [1], [1]], WIDE, 0.5),
    "sparse, floats": (losses.SparseCategoricalCrossentropy(), [0.0, 1.0, 1.0, 1.0], WIDE, 0.5),
    "sparse, another name": (
        losses.SparseCategoricalCrossentropy(name="mine"),
        [0, 1, 1, 1],
        WIDE,
        0.5,
    ),
    "ignored class": (
        losses.SparseCategoricalCrossentropy(ignore_class=2),
        [0, 2, 1, 2],
        WIDE,
        0.5,
    ),
    "ignored -100": (
        losses.SparseCategoricalCrossentropy(ignore_class=-100),
        [0, -100, 0, 1],
        WIDE,
        2 / 3,
    ),
    "ignored, partial": (
        functools.partial(losses.sparse_categorical_crossentropy, ignore_class=1),
        [0, 1, 1, 0],
        WIDE,
        0.5,
    ),
    "void pixels": (
        losses.SparseCategoricalCrossentropy(ignore_class=255),
        [[0, 1], [255, 1]],
        [WIDE[:2], WIDE[2:]],
        2 / 3,
    ),
    "nothing counts": (
        losses.SparseCategoricalCrossentropy(ignore_class=0),
        [0, 0, 0, 0],
        WIDE,
        np.nan,
    ),
    "classes first": (
        losses.SparseCategoricalCrossentropy(axis=1),
        [[0, 1, 1, 1]],
        [np.transpose(WIDE).tolist()],
        0.5,
    ),
    "ce, sparse": ("ce", [0, 1, 1, 1], WIDE, 0.5),
    "crossentropy, one-hot": ("crossentropy", ONE_HOT, WIDE, 0.5),
    "crossentropy, binary": ("crossentropy", YES, SINGLE, 0.75),
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, WIDE, 0.5),
    "categorical focal": (losses.CategoricalFocalCrossentropy(), ONE_HOT, WIDE, 0.5),
    "binary, probabilities": (losses.BinaryCrossentropy(), YES, SINGLE, 0.75),
    "binary, logits": (losses.BinaryCrossentropy(from_logits=True), YES, SINGLE, 0.75),
    "binary, labels in a row": (losses.BinaryCrossentropy(), [1, 1, 0, 0], SINGLE, 0.75),
    "binary focal": (losses.BinaryFocalCrossentropy(from_logits=True), YES, SINGLE, 0.75),
    "binary, several labels": ("bce", [[1.0, 0.0]] * 2, [[0.9, 0.1], [0.4, 0.2]], 0.75),
    "one of one": ({"out": "sparse_categorical_crossentropy"}, [0, 1, 1, 1], WIDE, 0.5),
    "counts": (losses.Poisson(), [0, 1, 1, 1], WIDE, None),
    "mse": ("mse", [0, 1, 1, 1], WIDE, None),
    "kld": (losses.KLDivergence(), ONE_HOT, WIDE, None),
    "hinge": ("hinge", YES, SINGLE, None),
    "quantiles": (lambda y, q: tf.reduce_mean(tf.abs(q - y)), [0, 1, 1, 1], WIDE, None),
}


@pytest.mark.parametrize("case", CASES)
def test_accuracy_follows_the_loss(case):
    loss, labels, outputs, expected = CASES[case]
    found = accuracies(loss, tf.constant([labels]), tf.constant([outputs]))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, [expected])


def test_the_probe_predicts_only_class_numbers():
    labels, outputs = tf.constant([[0, 1, 1, 1]]), tf.constant([WIDE])
    found = predicted_classes("ce", labels, outputs)
    np.testing.assert_array_equal(found, [[0, 1, 0, 2]])
    assert predicted_classes("poisson", labels, outputs) is None


def test_metrics_of_compile_are_taken_task_by_task():
    rng = np.random.default_rng(0)
    x = lambda n: rng.normal(size=(5, n, 2)).astype("float32")  # noqa: E731
    y = lambda n: np.tile(np.arange(3), (5, n // 3))  # noqa: E731
    data = (x(3), y(3)), (x(6), y(6))
    learner = ki.MetaLearner(
        ki.models.MLP(3, input_shape=(2,), hidden=()),
        ki.MAML(inner=ki.inner.GradientDescent(steps=1), first_order=True),
    )
    recall = keras.metrics.IoU(3, [0, 2], sparse_y_pred=False, name="iou")
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(loss=loss, metrics=["accuracy", recall])
    tasks = tf.data.Dataset.from_tensor_slices(data).batch(5)
    result = ki.evaluate(learner, tasks, num_tasks=5, verbose=0)
    own = result.metrics["accuracy"]
    assert own["value"] == pytest.approx(result.accuracy)
    assert own["ci95"] == pytest.approx(result.ci95)
    assert own["before"] == pytest.approx(result.accuracy_before)
    ious = []
    for i in range(5):
        outputs = learner.adapt_and_predict(data[0][0][i], data[0][1][i], data[1][0][i])
        metric = keras.metrics.IoU(3, [0, 2], sparse_y_pred=False)
        metric.update_state(data[1][1][i], outputs)
        ious.append(float(metric.result()))
    assert result.metrics["iou"]["value"] == pytest.approx(np.mean(ious))
    assert result.metrics["iou"]["ci95"] == pytest.approx(1.96 * np.std(ious) / np.sqrt(5))
    assert not np.any(recall.total_cm.numpy())  # the learner's own metric saw nothing
    json.dumps(result.metrics)


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
    check_metric_names((["accuracy", None, distance.__call__], None), NAMES)


def test_compile_looks_at_the_names_of_metrics():
    learner = ki.MetaLearner(ki.models.MLP(1, input_shape=(2,), hidden=()), ki.Reptile())
    clash = [keras.metrics.MeanSquaredError(name="bad_tasks")]
    for name in ("metrics", "weighted_metrics"):
        with pytest.raises(ValueError, match="named 'bad_tasks'"):
            learner.compile(loss="mse", **{name: clash})
