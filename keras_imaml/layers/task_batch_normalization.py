"""Batch normalization with the statistics of the current task, exact to the second derivative."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers

_context = threading.local()
_UNROLLED = 32  # most tasks to normalize one by one: each adds operations to the graph


@contextlib.contextmanager
def statistics_of_first(
    rows: int | tf.Tensor | None, counted: tf.Tensor | None = None
) -> Iterator[None]:
    """Context in which `TaskBatchNormalization` uses the statistics of the first `rows` examples.

    A query set that follows its support set in one batch is then normalized by the support set
    alone. Predictions for a query do not depend on the other queries.

    Args:
        rows: Number of examples. None: all of them.
        counted: `[examples]`, bool: those that the statistics count, in the place of `rows`.
            Defaults to `None`.
    """
    outer = getattr(_context, "rows", None), getattr(_context, "counted", None)
    _context.rows, _context.counted = rows, counted
    try:
        yield
    finally:
        _context.rows, _context.counted = outer  # contexts may be nested


def shares_in_mean(counted: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Factors by which a mean over all examples becomes one over those that count.

    Args:
        counted: `[..., examples]`, bool.
        dtype: Of the result, which has the shape of `counted`.
    """
    ones = tf.cast(counted, dtype)
    count = tf.maximum(tf.reduce_sum(ones, axis=-1, keepdims=True), 1)
    return ones * (tf.cast(tf.shape(counted)[-1], dtype) / count)


@keras.saving.register_keras_serializable(package="keras_imaml")
class TaskBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization by the mean and variance of the examples at hand, in every mode.

    The running averages of a stock `BatchNormalization` mix tasks; here the statistics are those
    of the current batch, which in a learner is one task's support or query set. With support
    statistics for the query set (`MetaLearner(transductive=False)`), the predictions for one query
    example do not depend on the others.

    Unlike `keras.layers.BatchNormalization`, whose second derivative TensorFlow computes wrongly
    (`tf.nn.moments` stops the gradient of the mean), this layer is exact for every order.

    `MetaLearner.adapt` turns it into a stock `BatchNormalization` that holds the statistics of the
    support set; the weights of the two layers are the same.

    Args:
        axis: The axis of the features: 1 for images with channels first. Defaults to `-1`, whatever
            `keras.config.image_data_format()` says.
        epsilon: Added to the variance. Defaults to `1e-3`.
        center: Whether to add a learned `beta`. Defaults to `True`.
        scale: Whether to multiply by a learned `gamma`. Defaults to `True`.
        fixed: Whether to normalize every task by the same statistics, those that
            `keras_imaml.record_statistics` has left in the layer. Defaults to `False`.
        divide: Whether to divide by the standard deviation. `False` only subtracts the mean, as
            `keras_imaml.layers.Centering` does. Defaults to `True`.
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
        fixed: bool = False,
        divide: bool = True,
        **kwargs: Any,
    ) -> None:
        for name in ("synchronized", "renorm"):
            if kwargs.get(name):
                raise ValueError(
                    f"Invalid value for `{name}`. Expected False: the statistics of a task never "
                    f"mix with those of another. Received: {name}={kwargs[name]}"
                )
        if not divide:  # with this variance, also a stock layer divides by one
            variance = keras.initializers.Constant(1.0 - epsilon)
            kwargs.setdefault("moving_variance_initializer", variance)
        super().__init__(axis=axis, epsilon=epsilon, center=center, scale=scale, **kwargs)
        self.fixed = bool(fixed)
        self.divide = bool(divide)
        # Mean and variance of each call, while `batch_statistics` records; otherwise None.
        self.recorded: list[tuple[tf.Tensor, tf.Tensor]] | None = None

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalize `inputs`; `training` makes no difference."""
        if mask is not None:
            raise ValueError(
                "TaskBatchNormalization does not support masks. Received: a mask for "
                f"layer {self.name!r}"
            )
        is_half = inputs.dtype in (tf.float16, tf.bfloat16)
        x = tf.cast(inputs, tf.float32) if is_half else inputs
        shape = [1] * inputs.shape.rank
        shape[self.axis] = -1
        if self.fixed and self.recorded is None:
            moving = (self.moving_mean, self.moving_variance)
            mean, variance = (tf.reshape(tf.cast(v, x.dtype), shape) for v in moving)
            centered = x + (-mean)
        else:
            centered, variance = self._of_examples(x)
        inverse = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            inverse *= tf.reshape(tf.cast(self.gamma, inverse.dtype), shape)
        outputs = centered * inverse
        if self.center:
            outputs += tf.reshape(tf.cast(self.beta, inverse.dtype), shape)
        return tf.cast(outputs, self.compute_dtype)

    def _of_examples(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The centered examples and their variance. Both statistics are recorded if requested."""
        rows, counted = getattr(_context, "rows", None), getattr(_context, "counted", None)
        if counted is not None:
            return self._of_counted(x, counted)
        examples = x if rows is None else x[:rows]
        # Mean and variance with their full derivatives. The negative mean is added, because the
        # gradient of a difference would pass over all activations once more to negate them.
        mean = tf.reduce_mean(examples, axis=self._other_axes(x), keepdims=True)
        centered = x + (-mean)
        if self.divide:
            squares = tf.square(centered if rows is None else examples + (-mean))
            variance = tf.reduce_mean(squares, axis=self._other_axes(x), keepdims=True)
        else:
            variance = tf.ones_like(mean) - self.epsilon
        self._record(mean, variance)
        return centered, variance

    def _of_counted(self, x: tf.Tensor, counted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_of_examples`, by the examples that count."""
        shares = shares_in_mean(counted, x.dtype)
        shares = tf.reshape(shares, [-1] + [1] * (x.shape.rank - 1))
        mean = tf.reduce_mean(shares * x, axis=self._other_axes(x), keepdims=True)
        centered = x + (-mean)
        if self.divide:
            squares = shares * tf.square(centered)
            variance = tf.reduce_mean(squares, axis=self._other_axes(x), keepdims=True)
        else:
            variance = tf.ones_like(mean) - self.epsilon
        self._record(mean, variance)
        return centered, variance

    def _other_axes(self, x: tf.Tensor) -> list[int]:
        """All axes but that of the channels."""
        rank = x.shape.rank
        return [axis for axis in range(rank) if axis != self.axis % rank]

    def _record(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        if self.recorded is not None:
            flat = self.moving_mean.shape
            self.recorded.append((tf.reshape(mean, flat), tf.reshape(variance, flat)))

    def fuses(self, inputs: tf.Tensor) -> bool:
        """Whether `fused` can normalize `[tasks, examples, ...]`."""
        if type(self).call is not TaskBatchNormalization.call:
            return False  # a subclass that computes something else
        is_last_axis = self.axis in (-1, inputs.shape.rank - 2)
        is_unrolled = inputs.shape[0] is not None and inputs.shape[0] <= _UNROLLED
        has_kernel = inputs.dtype == self.compute_dtype and inputs.dtype in (
            tf.float32,
            tf.bfloat16,
        )
        is_supported = self.fixed or (is_unrolled and self.divide)
        return is_last_axis and is_supported and has_kernel and self.variable_dtype == tf.float32

    def fused(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalize each task of `[tasks, examples, ...]` by itself, by TensorFlow's fused kernel.

        It takes a quarter of the time of `call`, and cannot be vectorized over tasks.
        """
        channels = inputs.shape[-1]
        scale = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones([channels])
        offset = tf.convert_to_tensor(self.beta) if self.center else tf.zeros([channels])

        def normalized(x: tf.Tensor, mean: Any, variance: Any) -> tf.Tensor:
            return tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=scale,
                offset=offset,
                mean=mean,
                variance=variance,
                epsilon=self.epsilon,
                is_training=not self.fixed,
            ).y

        if self.fixed:
            flat = tf.reshape(inputs, [1, -1, 1, channels])
            moving = (tf.convert_to_tensor(v) for v in (self.moving_mean, self.moving_variance))
            outputs = normalized(flat, *moving)
        else:
            flat = tf.reshape(inputs, [inputs.shape[0], 1, -1, 1, channels])
            unused = tf.zeros([0])
            outputs = tf.stack([normalized(task, unused, unused) for task in tf.unstack(flat)])
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)

    def become_stock(self) -> None:
        """Become a stock `BatchNormalization` with the weights as they are."""
        self.__class__ = keras.layers.BatchNormalization

    def stock_twin(self) -> keras.layers.BatchNormalization:
        """A stock layer with the same settings, not built."""
        config = keras.layers.BatchNormalization.get_config(self)
        del config["name"]
        return keras.layers.BatchNormalization.from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "fixed": self.fixed, "divide": self.divide}


def normalizations(model: keras.Model) -> list[TaskBatchNormalization]:
    """The layers of this class in a model and in its inner models."""
    return [x for x in all_layers(model) if isinstance(x, TaskBatchNormalization)]


def normalizes_by_batch(model: keras.Model) -> bool:
    """Whether a model's outputs for one example depend on the others."""
    return any(not layer.fixed for layer in normalizations(model))
