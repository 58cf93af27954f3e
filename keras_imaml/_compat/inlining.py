"""Functions of `tf.function` within a network, called as the Python that they are made of.

A graph that was traced before reads the variables themselves; weights of a task in their place
are not seen by it.

Tested with TensorFlow 2.20 and 2.21. Without the private interface such a function is refused, as
one that reads a variable past Keras.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.autograph.core import ag_ctx
    from tensorflow.python.eager.polymorphic_function import autograph_util, polymorphic_function

    _Function = polymorphic_function.Function
    _stock = _Function.__call__
except (ImportError, AttributeError):  # a private interface of TensorFlow: reads are refused
    ag_ctx = autograph_util = _Function = _stock = None

_context = threading.local()


@contextlib.contextmanager
def functions_inlined() -> Iterator[None]:
    """Within it, this thread traces functions of `tf.function` anew, into the graph at hand."""
    outer = getattr(_context, "inlines", False)
    _context.inlines = True
    try:
        with _replaced:
            yield
    finally:
        _context.inlines = outer


def _inlined(function: Any, *args: Any, **kwargs: Any) -> Any:
    if not getattr(_context, "inlines", False):
        return _stock(function, *args, **kwargs)
    python = function._python_function
    args, kwargs = tf.nest.map_structure(_as_tensor, (args, kwargs))
    if not function._autograph:
        return python(*args, **kwargs)
    options = function._experimental_autograph_options
    with ag_ctx.ControlStatusCtx(status=ag_ctx.Status.ENABLED):
        return autograph_util.py_func_from_autograph(python, options)(*args, **kwargs)


def _as_tensor(value: Any) -> Any:
    return tf.convert_to_tensor(value) if isinstance(value, np.ndarray) else value


_replaced = Replacement(lambda call: setattr(_Function, "__call__", call), _inlined, _stock)
