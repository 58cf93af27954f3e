"""One convolution for all tasks: per-task filters become the groups of a grouped convolution.

`tf.vectorized_map` turns a convolution whose filters differ between tasks into a loop. Folding the
tasks into the channels, `[T, n, h, w, c] -> [n, h, w, T c]` with filters `[kh, kw, c, T f]`, makes
it one call of the framework's grouped convolution, forwards and backwards.

Tested with TensorFlow 2.20 and 2.21. Without the private registry convolutions of tasks are as
right, and slower.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._compat.onednn import warn_without
from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.ops.parallel_for import pfor

    _registry = pfor._pfor_converter_registry
    _stock: Any = {
        name: _registry[name] for name in ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative")
    }
except (ImportError, AttributeError, KeyError):  # a private interface of TensorFlow: do without
    pfor = _registry = _stock = None


def grouped_convolutions() -> contextlib.AbstractContextManager:
    """Within it, `tf.vectorized_map` folds convolutions with per-task filters into groups.

    Where TensorFlow does not offer the place to say so, nothing changes but the speed.
    """
    return _replaced


def grouped_conv2d(x: tf.Tensor, filters: tf.Tensor, **attributes: Any) -> tf.Tensor:
    """Convolve `x [T, n, h, w, c]` with `filters [T, kh, kw, c, f]`, task by task.

    Args:
        x: Inputs, channels last.
        filters: One filter bank a task.
        **attributes: `strides`, `padding`, `dilations`, `explicit_paddings` of `Conv2D`.
    """
    y = tf.raw_ops.Conv2D(input=folded(x), filter=folded(filters), **attributes)
    return unfolded(y, static_or_dynamic_shape(x)[0])


def task_conv2d(x: tf.Tensor, filters: tf.Tensor, **attributes: Any) -> tf.Tensor:
    """As `grouped_conv2d`, one convolution after the other; every dtype and device has that."""

    def convolve(images: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Conv2D(input=images, filter=filters, **attributes)

    pairs = zip(tf.unstack(x), tf.unstack(filters), strict=True)
    return tf.stack([by_groups(convolve, *pair) for pair in pairs])


def by_groups(
    convolve: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], images: tf.Tensor, filters: tf.Tensor
) -> tf.Tensor:
    """A convolution of one task as one convolution for each group that its layer has."""
    groups = images.shape[-1] // filters.shape[-2]
    parts = zip(tf.split(images, groups, axis=-1), tf.split(filters, groups, axis=-1), strict=True)
    return tf.concat([convolve(*part) for part in parts], axis=-1)


def grouped_conv2d_transpose(
    x: tf.Tensor, filters: tf.Tensor, sizes: tf.Tensor, **attributes: Any
) -> tf.Tensor:
    """The adjoint of `grouped_conv2d` in its inputs: a transposed convolution, task by task.

    Args:
        x: `[T, n, h, w, f]`.
        filters: `[T, kh, kw, c, f]`, one filter bank a task.
        sizes: `[4]`, the shape of the result for one task: `(n, height, width, c)`.
        **attributes: `strides`, `padding`, `dilations`, `explicit_paddings` of `Conv2D`.
    """
    tasks = static_or_dynamic_shape(x)[0]
    y = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=sizes * tf.stack([1, 1, 1, tasks]),
        filter=folded(filters),
        out_backprop=folded(x),
        **attributes,
    )
    return unfolded(y, tasks)


def task_conv2d_transpose(
    x: tf.Tensor, filters: tf.Tensor, sizes: tf.Tensor, **attributes: Any
) -> tf.Tensor:
    """As `grouped_conv2d_transpose`, one after the other; every dtype and device has that."""
    return tf.stack(
        [
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=sizes, filter=bank, out_backprop=task_x, **attributes
            )
            for task_x, bank in zip(tf.unstack(x), tf.unstack(filters), strict=True)
        ]
    )


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
                if dtype == tf.float32:
                    warn_without()
                return False
            single = [_backpropagate(x[..., g : g + 2], filters[..., g : g + 2]) for g in (0, 2)]
            for value, *parts in zip(grouped, *single, strict=True):
                plain = tf.concat(parts, axis=-1)
                if not bool(tf.reduce_all(tf.abs(value - plain) <= 0.01 * tf.abs(plain))):
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


def _convert_conv2d(inputs: Any) -> Any:
    convolve = _choose(inputs, grouped_conv2d, task_conv2d)
    if convolve is None:
        return _stock["Conv2D"](inputs)
    inputs.stack_inputs([0, 1])
    y = convolve(inputs.stacked_input(0), inputs.stacked_input(1), **_attributes(inputs))
    return pfor.wrap(y, True)


def _convert_conv2d_transpose(inputs: Any) -> Any:
    convolve = _choose(inputs, grouped_conv2d_transpose, task_conv2d_transpose)
    sizes, sizes_differ, _ = inputs.input(0)
    if convolve is None or sizes_differ:
        return _stock["Conv2DBackpropInput"](inputs)
    inputs.stack_inputs([1, 2])
    y = convolve(inputs.stacked_input(2), inputs.stacked_input(1), sizes, **_attributes(inputs))
    return pfor.wrap(y, True)


def _convert_depthwise(inputs: Any) -> Any:
    filters, differ, _ = inputs.input(1)
    if differ:  # TensorFlow folds the tasks into the channels itself
        inputs.stack_inputs([0])
        return _stock["DepthwiseConv2dNative"](inputs)
    x = inputs.stacked_input(0)
    tasks, n, *image = static_or_dynamic_shape(x)
    attributes = {**_attributes(inputs), "data_format": inputs.get_attr("data_format").decode()}
    y = tf.raw_ops.DepthwiseConv2dNative(
        input=tf.reshape(x, [tasks * n, *image]), filter=filters, **attributes
    )
    return pfor.wrap(tf.reshape(y, [tasks, n, *static_or_dynamic_shape(y)[1:]]), True)


def _choose(inputs: Any, grouped: Any, one_by_one: Any) -> Any:
    """A convolution for per-task filters; None to leave it to TensorFlow."""
    channels_last = inputs.get_attr("data_format") == b"NHWC"
    filters, differ, _ = inputs.input(1)
    if not differ or not channels_last:
        return None  # shared filters: TensorFlow folds the tasks into the batch itself
    if supports_groups(filters.dtype):
        return grouped
    return None if filters.shape[0] is None else one_by_one


def _attributes(inputs: Any) -> dict[str, Any]:
    return {
        "strides": inputs.get_attr("strides"),
        "padding": inputs.get_attr("padding").decode(),
        "dilations": inputs.get_attr("dilations"),
        "explicit_paddings": inputs.get_attr("explicit_paddings"),
    }


def folded(x: tf.Tensor) -> tf.Tensor:
    """`[T, a, b, c, d] -> [a, b, c, T d]`: images or filters of all tasks side by side."""
    tasks, *middle, last = static_or_dynamic_shape(x)
    return tf.reshape(tf.transpose(x, [1, 2, 3, 0, 4]), [*middle, tasks * last])


def unfolded(y: tf.Tensor, tasks: Any) -> tf.Tensor:
    """The inverse of `folded`."""
    *middle, last = static_or_dynamic_shape(y)
    return tf.transpose(tf.reshape(y, [*middle, tasks, last // tasks]), [3, 0, 1, 2, 4])


def static_or_dynamic_shape(x: tf.Tensor) -> list[Any]:
    """The sizes of a tensor: integers where they are known when the graph is built."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


_replaced = Replacement(
    lambda converters: _registry.update(converters),
    {
        "Conv2D": _convert_conv2d,
        "Conv2DBackpropInput": _convert_conv2d_transpose,
        "DepthwiseConv2dNative": _convert_depthwise,
    },
    _stock,
)
