"""A `tf.function` that does not warn of being traced again.

Tested with TensorFlow 2.20 and 2.21. Without the private attribute it may warn.
"""

from typing import Any


def without_warning(graph: Any) -> Any:
    """The same `tf.function`, which warns no more of frequent tracing."""
    if hasattr(graph, "_omit_frequent_tracing_warning"):
        graph._omit_frequent_tracing_warning = True
    return graph
