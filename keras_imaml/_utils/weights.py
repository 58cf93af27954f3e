"""Means over the examples that are there: those whose weight is above zero."""

import tensorflow as tf


def mean_over_present(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """`sum w v` over the number of weights above zero, along the last axis.

    Keras weighs examples so, where no weight is zero.

    Args:
        values: `[..., examples]`.
        weights: `[..., examples]`.
    """
    weights = tf.cast(weights, values.dtype)
    count = tf.reduce_sum(tf.cast(weights > 0, values.dtype), axis=-1)
    return tf.reduce_sum(weights * values, axis=-1) / tf.maximum(count, 1)
