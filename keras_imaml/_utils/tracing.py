"""Graphs for any number of examples, and their warnings of retracing."""

import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._compat.retracing import without_warning
from keras_imaml._compat.shared_constants import shared_constants


def traced(function: Callable[..., Any], **settings: Any) -> Any:
    """`tf.function` without AutoGraph and without warnings of retracing.

    TensorFlow counts the traces of all functions with the same code together, so that it would
    warn where several learners have one each. It also counts a call while another thread traces.

    Args:
        function: The function to trace.
        **settings: Other arguments of `tf.function`.
    """
    return without_warning(tf.function(function, autograph=False, **settings))


class TracedByRank:
    """Trace a function once per combination of ranks, for all sizes.

    `tf.function` with `reduce_retracing` alone would use one graph without known ranks for tensors
    of different ranks, such as labels in a row and in a column.

    Args:
        function: The function to trace.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = shared_constants()(function)
        self._graphs: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        ranks = tuple(len(part.shape) for part in tf.nest.flatten(arguments))
        with self._lock:  # two threads would make two graphs
            if ranks not in self._graphs:
                self._graphs[ranks] = traced(self._function, reduce_retracing=True)
        return self._graphs[ranks](*arguments)

    @property
    def traces(self) -> int:
        """The number of traces."""
        return sum(g.experimental_get_tracing_count() for g in self._graphs.values())
