"""Graphs that serve all numbers of examples."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._compat.shared_constants import shared_constants


class TracedByRank:
    """A function of tensors as a graph that knows no sizes, but their ranks.

    `tf.function` with `reduce_retracing` alone would make one graph for tensors of several ranks
    (labels as a row and as a column), which knows nothing of them.

    Args:
        function: What to trace.
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
        """How often the function was traced."""
        return sum(g.experimental_get_tracing_count() for g in self._graphs.values())
