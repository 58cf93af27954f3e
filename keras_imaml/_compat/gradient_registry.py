"""Custom gradients of traced functions, which TensorFlow keeps until the process ends.

In a graph, `tf.custom_gradient` registers a new gradient at each call, by name and for good. The
gradient holds tensors, these hold their graph, and that often holds the model: no trained model is
ever freed, Keras' own included. Here the outermost graph holds the gradient, and the registry only
refers to it, so that both go together.

Tested with TensorFlow 2.20 and 2.21. Without the private interface, graphs stay in memory.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

try:
    from tensorflow.python.framework import ops
    from tensorflow.python.framework.func_graph import FuncGraph
    from tensorflow.python.ops import custom_gradient

    _gradients: Any = ops.gradient_registry._registry
    _stock: Any = custom_gradient._graph_mode_decorator
except (ImportError, AttributeError):
    _gradients = _stock = None

_HELD = "_keras_imaml_custom_gradients"


def _of_graph(name: str, graph: Any) -> None:
    """Let the outermost graph hold a registered gradient."""
    while isinstance(getattr(graph, "outer_graph", None), FuncGraph):
        graph = graph.outer_graph
    entry = _gradients.get(name)
    if entry is None or not isinstance(graph, FuncGraph):
        return
    gradient = entry["type"]
    held = getattr(graph, _HELD, None)
    if held is None:
        held = []
        setattr(graph, _HELD, held)
    held.append(gradient)
    reference = weakref.ref(gradient)

    def call(*args: Any) -> Any:
        function = reference()
        assert function is not None, f"{name} went with the graph that it was traced in"
        return function(*args)

    _gradients[name] = {**entry, "type": call}
    weakref.finalize(graph, _gradients.pop, name, None).atexit = False


def _releasing(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def graph_mode(*args: Any, **kwargs: Any) -> Any:
        result = stock(*args, **kwargs)
        tensor = next((t for t in tf.nest.flatten(result) if isinstance(t, tf.Tensor)), None)
        # The operation that TensorFlow puts behind the function has the name of the gradient.
        if tensor is not None and tensor.op.type == "IdentityN":
            _of_graph(tensor.op.get_attr("_gradient_op_type").decode(), tensor.graph)
        return result

    setattr(graph_mode, _HELD, True)
    return graph_mode


def release_with_graphs() -> None:
    """Let custom gradients go with their graphs, from now on."""
    if _stock is not None and not hasattr(custom_gradient._graph_mode_decorator, _HELD):
        custom_gradient._graph_mode_decorator = _releasing(_stock)
