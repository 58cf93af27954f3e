"""Functions with a gradient of their own within a network, which `tf.vectorized_map` would lose.

Vectorization copies the operations of such a function without the gradient that belongs to them.
The gradients of `tf.nn.silu` and the like are the derivatives of their operations: nothing is lost.

Tested with TensorFlow 2.20 and 2.21. Without the private interface no custom gradient is noted;
`self_check` refuses that.
"""

from typing import Any

import tensorflow as tf

from keras_imaml._compat.gradient_registry import release_with_graphs
from keras_imaml._compat.replacement import CallsNoted

release_with_graphs()
try:
    from tensorflow.python.ops import custom_gradient

    _stock = custom_gradient._graph_mode_decorator
except (ImportError, AttributeError):
    custom_gradient = _stock = None

# Modules whose custom gradients are the derivatives of the operations that they run.
_TRUE_DERIVATIVES = ("tensorflow.python.ops.nn_impl", "keras_imaml.")


def _note(function: Any, *_: Any, **__: Any) -> tuple[str, str] | None:
    module = getattr(function, "__module__", None) or ""
    if module.startswith(_TRUE_DERIVATIVES):
        return None
    scope = tf.compat.v1.get_default_graph().get_name_scope()
    return f"{scope}/", f"custom gradient of {function.__name__}"


custom_gradients_noted = CallsNoted(
    lambda value: setattr(custom_gradient, "_graph_mode_decorator", value), _stock, _note
)
"""Collects `(name scopes, name of the function)` of gradients that users defined."""
