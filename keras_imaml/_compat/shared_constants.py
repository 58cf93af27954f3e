"""Integer constants of a graph, made once.

TensorFlow makes a node for every shape, axis and permutation that an operation or its derivative
names: two in five nodes of a meta-step were such constants, most of them equal to another. Each
node takes time when the graph is built, and again when TensorFlow optimizes it.

Tested with TensorFlow 2.20 and 2.21. Without the private function a graph has more nodes, and the
same numbers.
"""

import contextlib
from collections.abc import Hashable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.framework import ops

    _stock = ops._create_graph_constant
except (ImportError, AttributeError):  # a private interface of TensorFlow: do without
    ops = _stock = None

_CACHE = "_keras_imaml_constants"


def shared_constants() -> contextlib.ContextDecorator:
    """Within it, a graph under construction has one node for equal constants of integers.

    A context manager, and a decorator of functions that build graphs.

    Numbers that can be differentiated are left alone: two equal ones may stand for two things, of
    which a tape watches one.
    """
    return _replaced


def _constant(value: Any, dtype: Any, shape: Any, *arguments: Any, **named: Any) -> tf.Tensor:
    graph = tf.compat.v1.get_default_graph()
    content = _content(value) if dtype is None or tf.as_dtype(dtype).is_integer else None
    # Nodes on a certain device, or beside another node, are made there.
    placed = (*graph._device_function_stack.peek_objs(), *graph._colocation_stack.peek_objs())
    if content is None or placed or not graph.building_function:
        return _stock(value, dtype, shape, *arguments, **named)
    key = (content, dtype, None if shape is None else tuple(shape))
    cache = getattr(graph, _CACHE, None)
    if cache is None:
        cache = {}
        setattr(graph, _CACHE, cache)
    if key not in cache:
        # What uses it next may come before what the first use had to wait for.
        with tf.control_dependencies(None):
            cache[key] = _stock(value, dtype, shape, *arguments, **named)
    return cache[key]


def _content(value: Any) -> Hashable | None:
    """What tells one constant of integers from another; None for all that is no such constant."""
    if type(value) is int:
        return value
    if isinstance(value, (list, tuple)):
        all_integers = all(type(v) is int for v in value)
        return (list, *value) if all_integers and value else None
    if isinstance(value, (np.ndarray, np.integer)) and value.dtype.kind == "i":
        array = np.asarray(value)
        return (array.tobytes(), array.dtype.str, array.shape)
    return None


_replaced = Replacement(
    lambda function: setattr(ops, "_create_graph_constant", function), _constant, _stock
)
