"""Graphs for any number of examples, and a warning where one is traced again and again.

TensorFlow's own warning counts the traces of all functions of one piece of code together, so that
it comes where several learners have a graph each. It also counts a call while another thread
traces. It does not count what `get_concrete_function` traces, which is all that is called here.
"""

import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from keras_imaml._compat.call_stack import with_room
from keras_imaml._compat.graph_optimizer import learner_graphs
from keras_imaml._compat.shared_constants import shared_constants

F = TypeVar("F", bound=Callable[..., Any])
_MANY = 8  # traces of one function: sizes need two, ranks and dtypes of tasks are few


def builds_graph(function: F) -> F:
    """A decorator of functions of tensors: TensorFlow traces them in less time, to fewer nodes."""
    return with_room(shared_constants()(function))


class Traced:
    """`tf.function` without AutoGraph, which says what it is traced for if that is often.

    Args:
        function: The function to trace.
        **settings: Other arguments of `tf.function`.
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        self._graph = tf.function(builds_graph(function), autograph=False, **settings)
        self._lock = threading.RLock()

    def __call__(self, *arguments: Any) -> Any:
        with learner_graphs():
            return self.get_concrete_function(*arguments)(*arguments)

    def get_concrete_function(self, *arguments: Any) -> Any:
        """See `tf.function`; two threads get the same graph."""
        with self._lock:
            traces = self.traces
            graph = self._graph.get_concrete_function(*arguments)
            if traces < _MANY <= self.traces:
                _warn_of_many(self.traces, arguments)
        return graph

    @property
    def traces(self) -> int:
        """The number of traces."""
        return self._graph.experimental_get_tracing_count()


class TracedByRank:
    """Trace a function once per combination of ranks, for all sizes.

    `tf.function` with `reduce_retracing` alone would use one graph without known ranks for tensors
    of different ranks, such as labels in a row and in a column.

    Args:
        function: The function to trace.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._graphs: dict[Any, Traced] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        ranks = tuple(len(part.shape) for part in tf.nest.flatten(arguments))
        with self._lock:  # two threads would make two graphs
            if ranks not in self._graphs:
                self._graphs[ranks] = Traced(self._function, reduce_retracing=True)
                if len(self._graphs) == _MANY:
                    _warn_of_many(self.traces + 1, arguments)
        return self._graphs[ranks](*arguments)

    @property
    def traces(self) -> int:
        """The number of traces."""
        return sum(graph.traces for graph in self._graphs.values())


def _warn_of_many(traces: int, arguments: Any) -> None:
    shown = tf.nest.map_structure(
        lambda x: f"{x.dtype.name} {x.shape}" if tf.is_tensor(x) else type(x).__name__, arguments
    )
    warnings.warn(
        f"keras_imaml has built {traces} graphs for one function, each of which takes as long as "
        "a first call. Sizes need no graph of their own, but structures, dtypes and numbers of "
        "axes do: give all tasks the same ones, such as float32 images and int32 labels. "
        f"Received: {shown}",
        stacklevel=4,
    )
