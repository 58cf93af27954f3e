"""Tasks of unequal size, padded: weights say which examples are there."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.streams import (
    Endless,
    counted,
    random_keys,
    stream_options,
    uniform,
    without_autograph,
)

Draw = Callable[[tf.Tensor, Any, Any], Any]

_SORTED = 8  # meta-batches of each bucket that are sorted together
_SIZES = 64  # of a set of padded meta-batches, at most: each new one costs a little


class UnequalTasks(Endless):
    """An endless stream of tasks of unequal size.

    An element is `((support_x, support_y, support_weights), (query_x, query_y, query_weights))`,
    padded to the largest task. With buckets, `batch` puts tasks of similar size together, and pads
    a meta-batch to its largest task, or a little more: each set has one of at most 64 sizes. Every
    task appears as often as without, in another order.

    Args:
        draw: From the number of a task, and the rows of its padded support and query set, to an
            element.
        sizes: From the number of a task to the examples that its two sets have, int32 `[2]`.
        largest: The most that they may have.
        start: Number of the first task.
        buckets: Into how many parts tasks are divided by the size of their support set, before
            they are sorted by that of their query set. Defaults to `1`: no order, and a size that
            the graph knows.
    """

    def __init__(
        self,
        draw: Draw,
        sizes: Callable[[tf.Tensor], tf.Tensor],
        largest: tuple[int, int],
        start: int,
        buckets: int = 1,
    ) -> None:
        self._draw = draw
        self._sizes = sizes
        self._largest = largest
        self.start = check_integer("start", start, 0)
        self._buckets = check_integer("buckets", buckets, 1)
        super().__init__(counted(lambda number: draw(number, *largest), self.start))

    def changed(self, change: Callable[[Any, tf.Tensor], Any]) -> "UnequalTasks":
        """The same tasks after `change(element, number)`, which keeps their sizes."""

        def draw(number: tf.Tensor, *rows: Any) -> Any:
            return change(self._draw(number, *rows), number)

        tasks = UnequalTasks(draw, self._sizes, self._largest, self.start, self._buckets)
        tasks.classes, tasks.way = self.classes, self.way
        return tasks

    def batch(self, batch_size: Any, drop_remainder: bool = True, **kwargs: Any) -> tf.data.Dataset:
        """See `Endless.batch`; with buckets, of tasks of similar size."""
        if self._buckets == 1:
            return super().batch(batch_size, drop_remainder, **kwargs)
        tasks = check_integer("batch_size", batch_size, 1)
        if self.start % tasks:
            raise ValueError(
                "Invalid value for `start`. Expected a multiple of the tasks of a meta-batch, "
                f"{tasks}: buckets sort meta-batches, not single tasks. "
                f"Received: start={self.start}"
            )
        together = _SORTED * self._buckets
        window, done = divmod(self.start // tasks, together)

        def sorted_tasks(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            numbers, rows = self._sorted(number, tasks, together)
            order = tf.argsort(uniform(_order_key(number), [together]))
            return (
                tf.reshape(tf.gather(numbers, order), [-1]),
                tf.repeat(tf.gather(rows, order), tasks, axis=0),
            )

        windows = tf.data.Dataset.counter(window, dtype=tf.int64)
        numbers = windows.map(without_autograph(sorted_tasks))
        numbers = numbers.flat_map(lambda *parts: tf.data.Dataset.from_tensor_slices(parts))
        numbers = numbers.skip(done * tasks)
        drawn = numbers.map(
            without_autograph(lambda number, size: self._draw(number, size[0], size[1])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        drawn = drawn.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        endless = Endless(drawn.with_options(stream_options()))
        endless.classes, endless.way = self.classes, self.way
        return endless.batch(tasks, **kwargs)

    def _sorted(self, window: tf.Tensor, tasks: int, together: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Meta-batches of similar tasks: numbers `[together, tasks]`, rows `[together, 2]`."""
        count = tasks * together
        numbers = window * count + tf.range(count, dtype=tf.int64)
        sizes = tf.map_fn(self._sizes, numbers, fn_output_signature=tf.TensorSpec([2], tf.int32))
        by_support = tf.argsort(sizes[:, 0], stable=True)
        bucket = tf.range(count) // (count // self._buckets)
        queries = tf.gather(sizes[:, 1], by_support)
        order = tf.argsort(bucket * (self._largest[1] + 1) + queries, stable=True)
        order = tf.gather(by_support, order)
        needed = tf.reshape(tf.gather(sizes, order), [together, tasks, 2])
        steps = tf.constant([-(-most // _SIZES) for most in self._largest])
        rows = -(-tf.reduce_max(needed, axis=1) // steps) * steps
        return tf.reshape(tf.gather(numbers, order), [together, tasks]), rows


def _order_key(window: tf.Tensor) -> tf.Tensor:
    return random_keys(0, "buckets")(window)


def padded_rows(present: tf.Tensor, rows: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Which candidates a padded set takes, in order, and the weights of its examples.

    Args:
        present: Candidates that belong to the set, bool `[candidates]`.
        rows: Size of the padded set.

    Returns:
        Positions of candidates, int64 `[rows]`, the first one where there is no example; and
        weights, float32 `[rows]`.
    """
    taken = tf.where(present)[:, 0]
    count = tf.size(taken)
    places = tf.range(rows)
    filled = places < count
    positions = tf.gather(taken, tf.where(filled, places, 0))
    return positions, tf.cast(filled, tf.float32)
