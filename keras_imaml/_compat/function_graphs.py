"""The operations of a graph, with those inside of its conditions, loops and called functions.

Tested with TensorFlow 2.20 and 2.21. Without the private functions of graphs, Python raises an
`AttributeError` that names them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

CONTROL_FLOW = {"Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While"}

_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


class Operation(NamedTuple):
    """An operation in a graph, or in a function that the graph calls.

    Attributes:
        name: With the names of the calls before it, joined by slashes.
        kind: Its type.
        gradient: The name of the gradient that stands in for that of its type, else `""`.
        of_slopes: Whether a derivative may go through it: an output is no integer.
    """

    name: str
    kind: str
    gradient: str
    of_slopes: bool


def operations_since(graph: Any, start: int) -> Iterator[Operation]:
    """The operations of `graph` from number `start` on, and those of the functions they call."""
    visited: set[str] = set()
    for operation in graph.get_operations()[start:]:
        kind = operation.type
        slopes = any(
            out.dtype.is_floating or out.dtype.is_complex or out.dtype == tf.variant
            for out in operation.outputs
        )
        called = kind in _CALLS  # its gradient is that of the function's own operations
        gradient = "" if called else _gradient_type(operation)
        yield Operation(operation.name, kind, gradient, slopes)
        if called or kind in CONTROL_FLOW:
            attributes = operation.node_def.attr
            yield from _within(graph, operation.name, attributes, slopes, visited)


def _gradient_type(operation: tf.Operation) -> str:
    try:
        return operation.get_attr("_gradient_op_type").decode()
    except ValueError:
        return ""


def _within(
    graph: Any, caller: str, attributes: Any, of_slopes: bool, visited: set[str]
) -> Iterator[Operation]:
    for name in _functions_of(attributes):
        if name in visited:
            continue
        visited.add(name)
        function = graph._get_function(name)
        if function is None:
            continue
        for node in function.cached_definition.node_def:
            path = f"{caller}/{node.name}"
            called = node.op in _CALLS
            gradient = "" if called else node.attr["_gradient_op_type"].s.decode()
            yield Operation(path, node.op, gradient, of_slopes)
            if called or node.op in CONTROL_FLOW:
                # Functions of functions are known to the graph of the caller.
                yield from _within(graph, path, node.attr, of_slopes, visited)


def _functions_of(attributes: Any) -> list[str]:
    values = attributes.values()
    single = [value.func.name for value in values if value.HasField("func")]
    return single + [f.name for value in values for f in value.list.func]
