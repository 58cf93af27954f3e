"""The classification accuracy of each task."""

from typing import Any

import tensorflow as tf


def has_classes(labels: Any, outputs: Any) -> bool:
    """Whether labels are class numbers and outputs have an entry for each class."""
    if not isinstance(labels, tf.Tensor) or not isinstance(outputs, tf.Tensor):
        return False
    if not labels.dtype.is_integer or outputs.shape[-1] == 1:
        return False
    return outputs.shape.rank == labels.shape.rank + 1 or _is_column(labels, outputs)


def accuracies(labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """The share of examples whose largest output is that of the label.

    Args:
        labels: Class numbers, `[tasks, examples, ...]`; a last axis of one entry does not count.
        outputs: `[tasks, examples, ..., classes]`.

    Returns:
        `[tasks]`, float64, from 0 to 1.
    """
    if _is_column(labels, outputs):
        labels = tf.squeeze(labels, axis=-1)
    matches = tf.equal(tf.argmax(outputs, axis=-1, output_type=labels.dtype), labels)
    return tf.reduce_mean(tf.cast(matches, tf.float64), axis=list(range(1, matches.shape.rank)))


def _is_column(labels: tf.Tensor, outputs: tf.Tensor) -> bool:
    return labels.shape.rank == outputs.shape.rank and labels.shape[-1] == 1
