"""Graphs for any number of examples."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._compat.shared_constants import shared_constants


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

    def __call__(self, *arguments: Any) -> Any:
        ranks = tuple(len(part.shape) for part in tf.nest.flatten(arguments))
        if ranks not in self._graphs:
            self._graphs[ranks] = tf.function(
                self._function, autograph=False, reduce_retracing=True
            )
        return self._graphs[ranks](*arguments)

    @property
    def traces(self) -> int:
        """The number of traces."""
        return sum(g.experimental_get_tracing_count() for g in self._graphs.values())
