"""Vectors of a meta-batch, `[tasks, size]`: one reduction over the last axis for each task."""

import tensorflow as tf


def dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`a_t . b_t` for each task: `[tasks, size]`, `[tasks, size]` -> `[tasks]`."""
    return tf.reduce_sum(a * b, axis=-1)


def length(a: tf.Tensor) -> tf.Tensor:
    """`||a_t||` for each task, of vectors whose entries are known to be of moderate size."""
    return tf.sqrt(dot(a, a))


def norm(a: tf.Tensor) -> tf.Tensor:
    """`||a_t||` for each task: `[tasks, size]` -> `[tasks]`.

    Scaled by the largest entry, so that squares of tiny or huge entries neither vanish nor
    overflow; NaN where an entry is NaN, infinity where one is infinite.

    Example:

    ```python
    ki.inner.norm(tf.constant([[3.0, 4.0], [0.0, 2.0]]))  # [5, 2]
    ```
    """
    largest = tf.reduce_max(tf.abs(a), axis=-1)
    scale = tf.where((largest > 0) & tf.math.is_finite(largest), largest, tf.ones_like(largest))
    scaled = a / scale[:, None]
    return scale * length(scaled)


def select(mask: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Rows of `a` where `mask [tasks]` holds, rows of `b` elsewhere, at any rank."""
    rank = a.shape.rank
    return tf.where(tf.reshape(mask, [-1] + [1] * (rank - 1)), a, b)


def finite(a: tf.Tensor) -> tf.Tensor:
    """Which tasks have finite entries only: `[tasks, ...]` -> `[tasks]`, bool.

    Example:

    ```python
    ki.inner.finite(tf.constant([[1.0, 2.0], [1.0, np.nan]]))  # [True, False]
    ```
    """
    entries = tf.math.is_finite(a)
    return tf.reduce_all(entries, axis=list(range(1, a.shape.rank)))


def rounding(dtype: tf.DType) -> float:
    """The relative size of rounding errors of a dtype."""
    return {tf.float64: 2.3e-16, tf.float32: 1.2e-7}.get(dtype, 1e-3)
