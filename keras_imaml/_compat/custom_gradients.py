"""Functions with a gradient of their own within a network, which `tf.vectorized_map` would lose.

Vectorization copies the operations of such a function without the gradient that belongs to them.
The gradients of `tf.nn.silu` and the like are the derivatives of their operations: nothing is lost.
Looked at: TensorFlow 2.21. Without the private interface nothing is noted.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.ops import custom_gradient

    _stock = custom_gradient._graph_mode_decorator
except (ImportError, AttributeError):
    custom_gradient = _stock = None

_context = threading.local()
# Modules whose custom gradients are the derivatives of the operations that they run.
_TRUE_DERIVATIVES = ("tensorflow.python.ops.nn_impl", "keras_imaml.")


@contextlib.contextmanager
def custom_gradients_noted() -> Iterator[list[tuple[str, str]]]:
    """Collect `(name scopes, name of the function)` of gradients that users defined."""
    noted: list[tuple[str, str]] = []
    if _stock is None:
        yield noted
        return
    outer = getattr(_context, "noted", None)
    _context.noted = noted
    try:
        with _replaced:
            yield noted
    finally:
        _context.noted = outer


def _noting(function: Any, *args: Any, **kwargs: Any) -> Any:
    noted = getattr(_context, "noted", None)
    module = getattr(function, "__module__", None) or ""
    if noted is not None and not module.startswith(_TRUE_DERIVATIVES):
        scope = tf.compat.v1.get_default_graph().get_name_scope()
        noted.append((f"{scope}/", f"custom gradient of {function.__name__}"))
    return _stock(function, *args, **kwargs)


_replaced = Replacement(
    lambda value: setattr(custom_gradient, "_graph_mode_decorator", value), _noting, _stock
)
