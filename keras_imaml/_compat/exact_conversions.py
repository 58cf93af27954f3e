"""Operations that `tf.vectorized_map` converts wrongly, and without an error, converted exactly.

* `Squeeze` of every axis of size one: the axis of a single task would go, too. Which axes are meant
  is known from one task alone.
* `Roll` along an axis that is counted from the end: the axis in front of it would roll, so that
  tasks would be mixed.
* `PadV2` with a constant: it would pad with zeros.
* `BiasAdd` and its gradient with channels first: they would be right for images alone.

Tested with TensorFlow 2.20 and 2.21. Without the private registry all of this would be wrong in
silence; `self_check` refuses that.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

_OPERATIONS = ("Squeeze", "Roll", "PadV2", "BiasAdd", "BiasAddGrad")

try:
    from tensorflow.python.ops.parallel_for import pfor

    _registry = pfor._pfor_converter_registry
    _stock: Any = {kind: _registry[kind] for kind in _OPERATIONS}
except (ImportError, AttributeError, KeyError):  # a private interface of TensorFlow: do without
    pfor = _registry = _stock = None


is_available = _registry is not None
"""Whether TensorFlow offers the place to say so."""


def converted_exactly() -> contextlib.AbstractContextManager:
    """Within it, `tf.vectorized_map` computes what the operations do one task after the other."""
    return _replaced


def _convert_squeeze(inputs: Any) -> Any:
    shape = inputs.op.inputs[0].shape
    if inputs.get_attr("squeeze_dims") or not shape.is_fully_defined():
        return _stock["Squeeze"](inputs)
    axes = [axis + 1 for axis, size in enumerate(shape) if size == 1]
    x = inputs.stacked_input(0)
    return pfor.wrap(tf.squeeze(x, axes) if axes else x, True)


class _FromTheFront:
    """The inputs of a conversion, with axes in one of them that are counted from the front."""

    def __init__(self, inputs: Any, number: int, rank: int) -> None:
        self._inputs = inputs
        self._number = number
        self._rank = rank

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inputs, name)

    def unstacked_input(self, number: int) -> tf.Tensor:
        axes = self._inputs.unstacked_input(number)
        if number != self._number:
            return axes
        return tf.where(axes < 0, axes + self._rank, axes)


def _convert_roll(inputs: Any) -> Any:
    return _stock["Roll"](_FromTheFront(inputs, 2, len(inputs.op.inputs[0].shape)))


def _convert_pad(inputs: Any) -> Any:
    x, paddings = inputs.stacked_input(0), inputs.unstacked_input(1)
    constant, differs_by_task, _ = inputs.input(2)
    paddings = tf.concat([tf.zeros([1, 2], paddings.dtype), paddings], axis=0)
    if not differs_by_task:
        padded = tf.raw_ops.PadV2(input=x, paddings=paddings, constant_values=constant)
        return pfor.wrap(padded, True)
    inside = tf.pad(tf.ones_like(x, tf.bool), paddings)
    return pfor.wrap(
        tf.where(inside, tf.pad(x, paddings), _with_axes(constant, len(x.shape))), True
    )


def _convert_bias_add(inputs: Any) -> Any:
    x, x_differs, _ = inputs.input(0)
    bias, bias_differs, _ = inputs.input(1)
    if not bias_differs or inputs.get_attr("data_format") != b"NCHW":
        return _stock["BiasAdd"](inputs)
    x = x if x_differs else x[None]
    return pfor.wrap(x + _with_axes(bias[:, None], len(x.shape)), True)


def _convert_bias_add_grad(inputs: Any) -> Any:
    if inputs.get_attr("data_format") != b"NCHW":
        return _stock["BiasAddGrad"](inputs)
    slope = inputs.stacked_input(0)
    return pfor.wrap(tf.reduce_sum(slope, [1, *range(3, len(slope.shape))]), True)


def _with_axes(x: tf.Tensor, rank: int) -> tf.Tensor:
    """`x` with further axes of size one, as many as make it of a rank.

    A rank that is not known raises an error, and tasks are computed one after the other.
    """
    for _ in range(rank - len(x.shape)):
        x = x[..., None]
    return x


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "Squeeze": _convert_squeeze,
    "Roll": _convert_roll,
    "PadV2": _convert_pad,
    "BiasAdd": _convert_bias_add,
    "BiasAddGrad": _convert_bias_add_grad,
}
_replaced = Replacement(lambda converters: _registry.update(converters), _CONVERTERS, _stock)
