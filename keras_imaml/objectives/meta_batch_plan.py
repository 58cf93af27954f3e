"""How a meta-batch is split: lanes for the cores, chunks for the memory, parts for the caches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import keras
import tensorflow as tf

from keras_imaml._utils.tracing import Traced
from keras_imaml.batching.caches import tasks_in_caches
from keras_imaml.distribution.pipelines import pipelines
from keras_imaml.objectives.tasks import Tasks, slice_tasks


class _Objective(Protocol):
    @property
    def tasks(self) -> Tasks: ...

    def on(self, tasks: Tasks) -> Any: ...

    def part(self, first: Any, count: int) -> Any: ...


O = TypeVar("O", bound=_Objective)  # noqa: E741


@dataclass(frozen=True)
class MetaBatchPlan:
    """Decides once a step into which parts a meta-batch is split.

    Attributes:
        lanes: Parts that run at the same time, one for each core.
        limit: How many tasks of a lane to compute at once, at most; None: no limit of memory.
        fits: About how many tasks of a lane the caches hold; None: unknown, or of no use.
        queries_fit: Of how many tasks they hold the query sets.
    """

    lanes: int = 1
    limit: int | None = None
    fits: int | None = None
    queries_fit: int | None = None

    @classmethod
    def of(
        cls,
        tasks: Tasks,
        adapting: keras.Model,
        predicting: keras.Model,
        tasks_per_chunk: int | None = None,
    ) -> "MetaBatchPlan":
        """The plan of a step.

        Args:
            tasks: The meta-batch.
            adapting: The network of the inner level.
            predicting: The network of the outer level.
            tasks_per_chunk: How many tasks of all lanes to compute at once, at most. Defaults to
                `None`: no limit of memory.
        """
        lanes = pipelines() if not isinstance(tasks.count, int) else min(pipelines(), tasks.count)
        queries_fit = tasks_in_caches(predicting, _examples(tasks.query_x))
        if tasks_per_chunk is not None:
            lanes = min(lanes, tasks_per_chunk)
            return cls(lanes, tasks_per_chunk // lanes, None, queries_fit)
        # A single lane uses all cores for each operation, which gains from large ones.
        fits = None if lanes == 1 else tasks_in_caches(adapting, _examples(tasks.support_x))
        return cls(lanes, None, fits, queries_fit)

    @property
    def for_queries(self) -> "MetaBatchPlan":
        """The plan of the query sets of a part, which are the largest batches of a step."""
        return MetaBatchPlan(fits=self.queries_fit)

    def splits(self, tasks: Any) -> bool:
        """Whether a meta-batch of so many tasks is split at all."""
        return self.lanes > 1 or self.at_once(tasks) is not None

    def at_once(self, tasks: Any) -> int | None:
        """How many tasks of a lane are computed at once, a divisor of `tasks`; None: all."""
        if not isinstance(tasks, int):
            return None if self.limit is None else 1
        if self.limit is not None:
            return None if tasks <= self.limit else _divisor(tasks, self.limit)
        if self.fits is None or tasks <= self.fits:
            return None
        best = _divisor(tasks, self.fits)
        return best if 4 * best >= self.fits else None  # 17 tasks have no parts but single ones

    def map_reduce(
        self,
        function: Callable[..., tuple[Any, list[tf.Tensor]]],
        objective: O,
        rows: Sequence[tf.Tensor] = (),
        dtypes: Any = (),
        zeros: Sequence[tf.Tensor] = (),
    ) -> tuple[Any, list[tf.Tensor]]:
        """Call `function` for each part; join what it gives for each task, and add up the rest.

        Args:
            function: From the objective of a part, and the rows of its tasks, to tensors
                `[tasks of the part, ...]` and to tensors to be added up. In a lane it is traced
                once, or twice if lanes cannot have equal sizes.
            objective: The objective of all tasks.
            rows: Other tensors to split, `[tasks, ...]`. Defaults to `()`.
            dtypes: The structure of the first result, with a dtype in the place of each tensor.
            zeros: Zeros of the shapes of the second.

        Returns:
            The tensors of all parts joined, `[tasks, ...]`, and the sums.
        """
        if self.lanes == 1:
            return self._in_chunks(function, objective, rows, dtypes, zeros)

        def lane(tasks: Tasks, *rows: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
            return self._in_chunks(function, objective.on(tasks), rows, dtypes, zeros)

        # No call needs the result of another, so that TensorFlow's executor runs them at the same
        # time, each on a thread of the inter-op pool. As they are not inlined, the function is
        # also optimized once, rather than once for each lane.
        graph = Traced(lane, experimental_attributes={"_noinline": True})
        count, results = objective.tasks.count, []
        for number in range(self.lanes):
            first, end = count * number // self.lanes, count * (number + 1) // self.lanes
            if isinstance(count, int):
                part = objective.tasks.part(first, end - first)
                results.append(graph(part, *(slice_tasks(x, first, end - first) for x in rows)))
            else:
                results.append(_some_or_none(graph, objective.tasks, rows, first, end))
        joined = tf.nest.map_structure(
            lambda *parts: tf.concat(parts, axis=0), *(parts for parts, _ in results)
        )
        terms = zip(*(sums for _, sums in results), strict=True)
        return joined, [tf.add_n(term) for term in terms]

    def _in_chunks(
        self,
        function: Callable[..., tuple[Any, list[tf.Tensor]]],
        objective: Any,
        rows: Sequence[tf.Tensor],
        dtypes: Any,
        zeros: Sequence[tf.Tensor],
    ) -> tuple[Any, list[tf.Tensor]]:
        """The chunks of a lane, one after the other."""
        tasks = objective.tasks.count
        at_once = self.at_once(tasks)
        if at_once is None:
            return function(objective, *rows)
        count = tasks // at_once
        arrays = tf.nest.map_structure(lambda dtype: tf.TensorArray(dtype, count), dtypes)

        def body(number: tf.Tensor, arrays: Any, sums: list) -> tuple:
            first = number * at_once
            rows_of_part = (slice_tasks(x, first, at_once) for x in rows)
            parts, terms = function(objective.part(first, at_once), *rows_of_part)
            arrays = tf.nest.map_structure(lambda a, part: a.write(number, part), arrays, parts)
            return number + 1, arrays, [a + b for a, b in zip(sums, terms, strict=True)]

        _, arrays, sums = tf.while_loop(
            lambda number, *_: number < count,
            body,
            (tf.constant(0), arrays, list(zeros)),
            parallel_iterations=1,
        )
        return tf.nest.map_structure(lambda array: array.concat(), arrays), list(sums)


def _examples(x: Any) -> int | None:
    """How many examples a task has, where it is known."""
    parts = tf.nest.flatten(x)
    return parts[0].shape[1] if parts else None


def _divisor(tasks: int, limit: int) -> int:
    """The largest divisor of `tasks` within `limit`."""
    return max(n for n in range(1, limit + 1) if tasks % n == 0)


def _some_or_none(
    graph: Callable[..., Any],
    tasks: Tasks,
    rows: Sequence[tf.Tensor],
    first: tf.Tensor,
    end: tf.Tensor,
) -> tuple[Any, list[tf.Tensor]]:
    """Run the tasks from `first` to `end`; at run time there may be none."""
    start = tf.minimum(first, tasks.count - 1)  # then a task of another lane, marked as invalid
    stop = tf.maximum(end, start + 1)
    part, rows = tf.nest.map_structure(lambda x: x[start:stop], (tasks, tuple(rows)))
    parts, sums = graph(part._replace(valid=part.valid & (end > first)), *rows)
    return tf.nest.map_structure(lambda x: x[: end - first], parts), sums
