"""One convolution for all tasks: per-task filters become the groups of a grouped convolution.

`tf.vectorized_map` turns a convolution whose filters differ between tasks into a loop. Folding the
tasks into the channels, `[T, n, h, w, c] -> [n, h, w, T c]` with filters `[kh, kw, c, T f]`, makes
it one call of the framework's grouped convolution, forwards and backwards.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

try:
    from tensorflow.python.ops.parallel_for import pfor

    _registry = pfor._pfor_converter_registry
    _stock = _registry["Conv2D"]
except (ImportError, AttributeError, KeyError):  # a private interface of TensorFlow: do without
    pfor = _registry = _stock = None

_lock = threading.RLock()
_depth = 0


@contextlib.contextmanager
def grouped_convolutions() -> Iterator[None]:
    """Within it, `tf.vectorized_map` folds convolutions with per-task filters into groups.

    Where TensorFlow does not offer the place to say so, nothing changes but the speed.
    """
    global _depth
    if _registry is None:
        yield
        return
    with _lock:
        _depth += 1
        _registry["Conv2D"] = _convert
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _registry["Conv2D"] = _stock


def grouped_conv2d(x: tf.Tensor, filters: tf.Tensor, **attributes: Any) -> tf.Tensor:
    """Convolve `x [T, n, h, w, c]` with `filters [T, kh, kw, c, f]`, task by task.

    Args:
        x: Inputs, channels last.
        filters: One filter bank a task.
        **attributes: `strides`, `padding`, `dilations`, `explicit_paddings` of `Conv2D`.
    """
    tasks, n, height, width, channels = _shape(x)
    _, kernel_height, kernel_width, depth, features = _shape(filters)
    y = tf.raw_ops.Conv2D(
        input=tf.reshape(tf.transpose(x, [1, 2, 3, 0, 4]), [n, height, width, tasks * channels]),
        filter=tf.reshape(
            tf.transpose(filters, [1, 2, 3, 0, 4]),
            [kernel_height, kernel_width, depth, tasks * features],
        ),
        **attributes,
    )
    _, out_height, out_width, _ = _shape(y)
    return tf.transpose(tf.reshape(y, [n, out_height, out_width, tasks, features]), [3, 0, 1, 2, 4])


def task_conv2d(x: tf.Tensor, filters: tf.Tensor, **attributes: Any) -> tf.Tensor:
    """As `grouped_conv2d`, one convolution after the other; every dtype and device has that."""
    groups = x.shape[-1] // filters.shape[-2]  # of a layer that has groups itself
    outputs = []
    for one, bank in zip(tf.unstack(x), tf.unstack(filters), strict=True):
        parts = [
            tf.raw_ops.Conv2D(input=channels, filter=features, **attributes)
            for channels, features in zip(
                tf.split(one, groups, axis=-1), tf.split(bank, groups, axis=-1), strict=True
            )
        ]
        outputs.append(tf.concat(parts, axis=-1))
    return tf.stack(outputs)


@functools.cache
def supports_groups(dtype: tf.DType) -> bool:
    """Whether this build of TensorFlow differentiates grouped convolutions of `dtype` here.

    On CPUs it takes oneDNN, and single precision.
    """
    with tf.init_scope():  # operations that run now, whatever graph is under construction
        for size in (4, 1):  # kernels take another path where the image is a single pixel
            values = tf.range(2 * size * size * 4, dtype=tf.float32)
            x = tf.cast(tf.reshape(values, [2, size, size, 4]), dtype)
            filters = tf.cast(tf.reshape(tf.range(72.0), [3, 3, 2, 4]), dtype)
            try:
                grouped = _backpropagate(x, filters)
            except tf.errors.OpError:
                return False
            single = [_backpropagate(x[..., g : g + 2], filters[..., g : g + 2]) for g in (0, 2)]
            for ours, *parts in zip(grouped, *single, strict=True):
                plain = tf.concat(parts, axis=-1)
                if not bool(tf.reduce_all(tf.abs(ours - plain) <= 0.01 * tf.abs(plain))):
                    return False
    return True


def _backpropagate(x: tf.Tensor, filters: tf.Tensor) -> list[tf.Tensor]:
    settings: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    y = tf.raw_ops.Conv2D(input=x, filter=filters, **settings)
    return [
        tf.raw_ops.Conv2DBackpropInput(
            input_sizes=x.shape, filter=filters, out_backprop=y, **settings
        ),
        tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=filters.shape, out_backprop=y, **settings
        ),
    ]


def _convert(inputs: Any) -> Any:
    operation = inputs.op
    channels_last = operation.get_attr("data_format") == b"NHWC"
    if not inputs.input(1)[1] or not channels_last:
        return _stock(inputs)  # shared filters: TensorFlow folds the tasks into the batch itself
    if supports_groups(operation.inputs[0].dtype):
        convolve = grouped_conv2d
    elif _static_tasks(inputs) is None:
        return _stock(inputs)
    else:
        convolve = task_conv2d
    inputs.stack_inputs([0, 1])
    y = convolve(
        inputs.stacked_input(0),
        inputs.stacked_input(1),
        strides=operation.get_attr("strides"),
        padding=operation.get_attr("padding").decode(),
        dilations=operation.get_attr("dilations"),
        explicit_paddings=operation.get_attr("explicit_paddings"),
    )
    return pfor.wrap(y, True)


def _static_tasks(inputs: Any) -> int | None:
    filters, _, _ = inputs.input(1)
    return filters.shape[0]


def _shape(x: tf.Tensor) -> list[Any]:
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]
