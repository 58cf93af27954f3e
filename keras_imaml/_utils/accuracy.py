"""The accuracy of a classification task by task, as Keras' own metrics count it."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.keras_losses import loss_name

_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_SPARSE = (keras.losses.SparseCategoricalCrossentropy,)
_ONE_HOT = (keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy)
_KINDS = {  # by the names of functions and of strings
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "bce": "binary",
    "sparse_categorical_crossentropy": "sparse",
    "categorical_crossentropy": "one_hot",
    "categorical_focal_crossentropy": "one_hot",
    "crossentropy": "by_shape",
    "ce": "by_shape",
}
_ACCURACIES = {"accuracy", "acc"}


def accuracies(labels: Any, outputs: Any, loss: Any, metrics: Any = None) -> tf.Tensor | None:
    """The share of examples that are classified right, for each task.

    The loss says whether there are classes: a cross-entropy has them, a squared error has none.
    For any other loss an `"accuracy"` among the metrics of `compile` says so.

    Args:
        labels: Targets, `[tasks, examples, ...]`.
        outputs: The network's outputs, `[tasks, examples, ...]`.
        loss: The loss of `compile`.
        metrics: The metrics of `compile`. Defaults to `None`.

    Returns:
        `[tasks]`, float64, from 0 to 1, NaN for a task whose labels are all ignored; `None` for
        what is no classification, and for networks of several outputs.
    """
    if not isinstance(labels, tf.Tensor) or not isinstance(outputs, tf.Tensor):
        return None
    kind = _kind(loss)
    if kind is None and _ACCURACIES & {m for m in keras.tree.flatten(metrics) if _is_text(m)}:
        kind = "by_shape"
    if kind == "by_shape":  # as Keras does
        one_hot = labels.shape.rank == outputs.shape.rank and labels.shape[-1] != 1
        kind = "binary" if outputs.shape[-1] == 1 else "one_hot" if one_hot else "sparse"
    if kind is None:
        return None
    counted: Any = None
    if kind == "binary":
        threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5
        if labels.shape.rank == outputs.shape.rank - 1:
            outputs = tf.squeeze(outputs, axis=-1)
        right = tf.equal(outputs > threshold, tf.cast(labels, outputs.dtype) > 0.5)
    elif kind == "sparse":
        if labels.shape.rank == outputs.shape.rank:
            labels = tf.squeeze(labels, axis=-1)
        classes = tf.cast(labels, tf.int64)
        right = tf.equal(tf.argmax(outputs, axis=-1), classes)
        ignored = getattr(loss, "ignore_class", None)
        if ignored is not None:
            counted = tf.not_equal(classes, ignored)
    else:
        right = tf.equal(tf.argmax(outputs, axis=-1), tf.argmax(labels, axis=-1))
    axes = list(range(1, right.shape.rank))
    if counted is None:
        return tf.reduce_mean(tf.cast(right, tf.float64), axis=axes)
    total = tf.reduce_sum(tf.cast(counted, tf.float64), axis=axes)
    return tf.reduce_sum(tf.cast(right & counted, tf.float64), axis=axes) / total


def has_class_predictions(labels: Any, outputs: Any) -> bool:
    """Whether labels are class numbers and outputs have an entry for each class."""
    if not isinstance(labels, tf.Tensor) or not isinstance(outputs, tf.Tensor):
        return False
    if not labels.dtype.is_integer or outputs.shape[-1] == 1:
        return False
    column = labels.shape.rank == outputs.shape.rank and labels.shape[-1] == 1
    return outputs.shape.rank == labels.shape.rank + 1 or column


def _kind(loss: Any) -> str | None:
    for classes, kind in ((_BINARY, "binary"), (_SPARSE, "sparse"), (_ONE_HOT, "one_hot")):
        if isinstance(loss, classes):
            return kind
    if isinstance(loss, (list, tuple, dict)):
        return None
    if _is_text(loss) and loss.lower() in _KINDS:
        return _KINDS[loss.lower()]
    return _KINDS.get(loss_name(loss)) if callable(loss) or _is_text(loss) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
