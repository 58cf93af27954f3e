"""`tf.vectorized_map` for XLA, in the graph at hand.

There TensorFlow makes a function of what is vectorized. The gradient of the function takes the axes
of a sum from it, and XLA wants axes that are constants. It then takes all that the function
computes from for constants, weights and data included, and compiles each step anew.

Tested with TensorFlow 2.20 and 2.21. Without the private interface steps are compiled anew.
"""

import contextlib

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.ops.parallel_for import control_flow_ops

    _stock = control_flow_ops._is_under_xla_context
except (ImportError, AttributeError):  # a private interface of TensorFlow: do without
    control_flow_ops = _stock = None


def vectorized_in_place() -> contextlib.AbstractContextManager:
    """Within it, `tf.vectorized_map` makes no function of its own in a graph for XLA."""
    return _replaced


_replaced = Replacement(
    lambda is_under_xla: setattr(control_flow_ops, "_is_under_xla_context", is_under_xla),
    lambda: False,
    _stock,
)
