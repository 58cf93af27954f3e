"""`tf.squeeze` of every axis of size one, but not of the axis of tasks.

`tf.vectorized_map` puts the tasks in front of what is squeezed, and a single task then loses its
axis: the bias of a Keras convolution would. Which axes are meant is known from one task alone.

Tested with TensorFlow 2.20 and 2.21. Without the private registry a single task would lose its
axis; `self_check` refuses that.
"""

import contextlib
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.ops.parallel_for import pfor

    _registry = pfor._pfor_converter_registry
    _stock = _registry["Squeeze"]
except (ImportError, AttributeError, KeyError):  # a private interface of TensorFlow: do without
    pfor = _registry = _stock = None


is_available = _registry is not None
"""Whether TensorFlow offers the place to say so."""


def task_axis_kept() -> contextlib.AbstractContextManager:
    """Within it, `tf.vectorized_map` over a single task squeezes what it does over several."""
    return _replaced


def _convert_squeeze(inputs: Any) -> Any:
    shape = inputs.op.inputs[0].shape
    if inputs.get_attr("squeeze_dims") or not shape.is_fully_defined():
        return _stock(inputs)
    axes = [axis + 1 for axis, size in enumerate(shape) if size == 1]
    x = inputs.stacked_input(0)
    return pfor.wrap(tf.squeeze(x, axes) if axes else x, True)


_replaced = Replacement(
    lambda converter: _registry.update(Squeeze=converter), _convert_squeeze, _stock
)
