"""Batch normalisation with the statistics of the current task, exact to the second derivative."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_context = threading.local()


@contextlib.contextmanager
def statistics_of_first(rows: int | tf.Tensor) -> Iterator[None]:
    """Within it, `TaskBatchNormalization` takes its statistics from the first `rows` examples.

    A query set that follows its support set in one batch is then normalised by the support set
    alone: no query example sees another (non-transductive evaluation).
    """
    _context.rows = rows
    try:
        yield
    finally:
        _context.rows = None


@keras.saving.register_keras_serializable(package="keras_imaml")
class TaskBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the mean and variance of the examples at hand, in every mode.

    The running averages of a stock `BatchNormalization` mix tasks; here the statistics are those
    of the current batch, which in a learner is one task's support or query set. With support
    statistics for the query set (`MetaLearner(transductive=False)`), the predictions for one query
    example do not depend on the others.

    Unlike `keras.layers.BatchNormalization`, whose second derivative TensorFlow computes wrongly
    (`tf.nn.moments` stops the gradient of the mean), this layer is exact for every order.

    `MetaLearner.adapt` turns it into a stock `BatchNormalization` that holds the statistics of the
    support set; the weights of the two layers are the same.

    Args:
        axis: The axis of the features. Defaults to `-1`.
        epsilon: Added to the variance. Defaults to `1e-3`.
        center: Whether to add a learned `beta`. Defaults to `True`.
        scale: Whether to multiply by a learned `gamma`. Defaults to `True`.
        **kwargs: Other arguments of `keras.layers.BatchNormalization`, such as initializers and
            `name`. `momentum` has no effect.

    Example:

    ```python
    layer = ki.layers.TaskBatchNormalization()
    layer(np.random.rand(5, 28, 28, 64))
    ```

    References:
        Ioffe and Szegedy, 2015; the use of current statistics follows Finn et al., 2017.
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ) -> None:
        for name in ("synchronized", "renorm"):
            if kwargs.get(name):
                raise ValueError(
                    f"Invalid value for `{name}`. Expected False: the statistics of a task never "
                    f"mix with those of another. Received: {name}={kwargs[name]}"
                )
        super().__init__(axis=axis, epsilon=epsilon, center=center, scale=scale, **kwargs)
        self.recording = False  # True while a model for one task takes down its statistics
        self.recordings = 0

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise `inputs`; `training` makes no difference."""
        if mask is not None:
            raise ValueError(
                "TaskBatchNormalization does not support masks. Received: a mask for "
                f"layer {self.name!r}"
            )
        mean, variance = self.statistics(inputs)
        if self.recording:
            self.recordings += 1
            self.moving_mean.assign(tf.reshape(mean, self.moving_mean.shape))
            self.moving_variance.assign(tf.reshape(variance, self.moving_variance.shape))
        shape = [1] * inputs.shape.rank
        shape[self.axis] = -1
        inverse = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            inverse *= tf.reshape(tf.cast(self.gamma, inverse.dtype), shape)
        outputs = (tf.cast(inputs, inverse.dtype) - mean) * inverse
        if self.center:
            outputs += tf.reshape(tf.cast(self.beta, inverse.dtype), shape)
        return tf.cast(outputs, self.compute_dtype)

    def statistics(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance over all axes but `axis`, with their full derivatives."""
        rows = getattr(_context, "rows", None)
        x = inputs if rows is None else inputs[:rows]
        if x.dtype in (tf.float16, tf.bfloat16):
            x = tf.cast(x, tf.float32)
        mean = tf.reduce_mean(x, axis=self._reduction_axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), axis=self._reduction_axes, keepdims=True)
        return mean, variance

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return super().get_config()
