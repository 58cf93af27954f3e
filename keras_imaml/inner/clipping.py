"""Clipping of the gradient of each task, before an inner step takes it."""

from collections.abc import Callable

import tensorflow as tf

from keras_imaml._utils.validation import check_number
from keras_imaml._utils.vectors import dot


def check_clipping(clip_norm: float | None, clip_value: float | None) -> None:
    """Refuse limits that are no numbers above 0, by a `ValueError`."""
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            check_number(name, limit, minimum=0.0, exclusive=True)


def clipping(clip_norm: float | None, clip_value: float | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that clips gradients `[tasks, size]`, each task by itself.

    Args:
        clip_norm: The longest gradient of a task; longer ones keep their direction. None: any.
        clip_value: The largest entry, up or down, before the norm is taken. None: any.
    """

    def clip(gradient: tf.Tensor) -> tf.Tensor:
        if clip_value is not None:
            gradient = tf.clip_by_value(gradient, -clip_value, clip_value)
        if clip_norm is not None:
            square = dot(gradient, gradient)[:, None]
            long = square > clip_norm**2
            # The root has no derivative at zero, where nothing is clipped.
            length = tf.sqrt(tf.where(long, square, tf.ones_like(square)))
            gradient *= tf.where(long, clip_norm / length, tf.ones_like(length))
        return gradient

    return clip
