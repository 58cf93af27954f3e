"""How often outputs are right, task by task, where the loss is a classification."""

from typing import Any

import tensorflow as tf

from keras_imaml._utils.keras_losses import Classification, classification


def accuracies(
    loss: Any, labels: Any, outputs: Any, present: tf.Tensor | None = None
) -> tf.Tensor | None:
    """The share of labels that outputs are right about, by the rules of the loss.

    Args:
        loss: What `compile` was given.
        labels: `[tasks, examples, ...]`.
        outputs: `[tasks, examples, ...]`.
        present: `[tasks, examples]`, bool: which examples are there. Defaults to `None`: all.

    Returns:
        `[tasks]`, float64, from 0 to 1, and NaN for a task whose labels are all ignored. None if
        the loss is no classification, or there are several outputs.
    """
    if not isinstance(labels, tf.Tensor) or not isinstance(outputs, tf.Tensor):
        return None
    rule = classification(loss, labels, outputs)
    if rule is None:
        return None
    labels = _aligned(rule, labels, outputs)
    right, counts = _right(rule, labels, outputs)
    axes = list(range(1, right.shape.rank))
    if present is not None:
        counts &= tf.reshape(present, tf.concat([tf.shape(present), [1] * (len(axes) - 1)], 0))
    hits = tf.reduce_sum(tf.cast(right & counts, tf.float64), axis=axes)
    return hits / tf.reduce_sum(tf.cast(counts, tf.float64), axis=axes)


def predicted_classes(loss: Any, labels: Any, outputs: Any) -> tf.Tensor | None:
    """The number of the largest output; None if labels are no class numbers."""
    if not isinstance(labels, tf.Tensor) or not isinstance(outputs, tf.Tensor):
        return None
    rule = classification(loss, labels, outputs)
    if rule is None or rule.kind != "sparse":
        return None
    return tf.argmax(outputs, axis=_class_axis(rule, outputs))


def _right(
    rule: Classification, labels: tf.Tensor, outputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which outputs are right, and which of them count."""
    if rule.kind == "binary":
        right = tf.equal(outputs > tf.cast(rule.threshold, outputs.dtype), labels > 0.5)
        return right, tf.ones_like(right)
    axis = _class_axis(rule, outputs)
    predicted = tf.argmax(outputs, axis=axis)
    if rule.kind == "categorical":
        right = tf.equal(predicted, tf.argmax(labels, axis=axis))
        return right, tf.ones_like(right)
    counts = tf.ones_like(labels, tf.bool)
    if rule.ignore_class is not None:
        counts = tf.not_equal(labels, tf.cast(rule.ignore_class, labels.dtype))
    return tf.equal(predicted, labels), counts


def _aligned(rule: Classification, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """The labels in the shape and dtype to compare; Keras' losses take a column, too."""
    if rule.kind == "sparse":
        column = labels.shape.rank == outputs.shape.rank and labels.shape[-1] == 1
        return tf.cast(tf.squeeze(labels, axis=-1) if column else labels, tf.int64)
    if rule.kind == "binary":
        short = labels.shape.rank < outputs.shape.rank and outputs.shape[-1] == 1
        return tf.cast(labels[..., None] if short else labels, tf.float32)
    return labels


def _class_axis(rule: Classification, outputs: tf.Tensor) -> int:
    """The axis of the classes, behind that of the tasks."""
    return rule.axis + 1 if rule.axis >= 0 else outputs.shape.rank + rule.axis
