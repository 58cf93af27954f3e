"""What a graph under construction takes from outside: variables that are read, Python functions.

Tested with TensorFlow 2.20 and 2.21. Without it a layer that reads a variable past Keras, or calls
Python while a graph runs, would compute with weights of no task; `self_check` refuses that.
"""

import contextlib
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import CallsNoted

try:
    from tensorflow.python.eager.record import VariableWatcher
except ImportError:
    VariableWatcher = None

try:
    from tensorflow.python.ops import script_ops

    _stock = script_ops._internal_py_func
except (ImportError, AttributeError):
    script_ops = _stock = None


def _scope(*_: Any, **__: Any) -> str:
    return tf.compat.v1.get_default_graph().get_name_scope()


python_noted = CallsNoted(
    lambda function: setattr(script_ops, "_internal_py_func", function), _stock, _scope
)
"""Collects the name scopes in which Python is put into the graph of this thread."""


def reads_watched() -> contextlib.AbstractContextManager:
    """A block of which `read_in` tells the variables that were read."""
    return contextlib.nullcontext() if VariableWatcher is None else VariableWatcher()


def read_in(watcher: Any) -> list[tf.Variable]:
    """The trainable variables that were read in a block of `reads_watched`."""
    return [] if VariableWatcher is None else list(watcher.watched_variables())
