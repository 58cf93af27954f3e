"""The data of a meta-batch: support and query sets, one row for each task."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.vectors import finite, select


class Tasks(NamedTuple):
    """A meta-batch: each entry holds one row (or one structure of rows) a task.

    Attributes:
        support_x: Inputs of the support sets, `[tasks, examples, ...]`.
        support_y: Their targets.
        query_x: Inputs of the query sets.
        query_y: Their targets.
        valid: `[tasks]`, bool: tasks that count. Filled in by `checked`.
        numbers: `[tasks]`, integers: the number of each task in the meta-batch of all replicas,
            which its random numbers depend on. Defaults to `()`: counted from 0 on.
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any
    valid: Any = ()
    numbers: Any = ()

    @property
    def count(self) -> Any:
        """The number of tasks; an integer where it is known when the graph is built."""
        first, *_ = tf.nest.flatten(self.support_x)
        return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]

    def checked(self) -> "Tasks":
        """The same tasks, with zeros for those that hold NaN or infinity, which become invalid.

        They cannot spoil then what tasks compute together.
        """
        if tf.is_tensor(self.valid):
            return self
        data = self[:4]
        floats = [part for part in tf.nest.flatten(data) if part.dtype.is_floating]
        every = tf.ones([self.count], tf.bool)
        valid = tf.reduce_all(tf.stack([every, *map(finite, floats)]), axis=0)
        numbers = self.numbers if tf.is_tensor(self.numbers) else tf.range(self.count)
        return self._replace(**self._cleared(valid), valid=valid, numbers=numbers)

    def part(self, first: int | tf.Tensor, count: int) -> "Tasks":
        """`count` tasks from number `first` on."""
        return tf.nest.map_structure(lambda x: slice_tasks(x, first, count), self)

    def without(self, invalid: tf.Tensor) -> "Tasks":
        """The tasks with zeros in the place of some, which become invalid.

        Args:
            invalid: `[tasks]`, bool.
        """
        valid = self.valid & ~invalid
        return self._replace(**self._cleared(~invalid), valid=valid)

    def _cleared(self, valid: tf.Tensor) -> dict[str, Any]:
        return {name: clear(getattr(self, name), valid) for name in self._fields[:4]}

    def merged(self) -> "Tasks":
        """The same tasks with support and query examples together as the support set."""
        join = lambda s, q: tf.concat([s, tf.cast(q, s.dtype)], axis=1)  # noqa: E731
        return self._replace(
            support_x=tf.nest.map_structure(join, self.support_x, self.query_x),
            support_y=tf.nest.map_structure(join, self.support_y, self.query_y),
        )


def slice_tasks(x: tf.Tensor, first: int | tf.Tensor, count: int) -> tf.Tensor:
    """`count` rows of `x` from number `first` on, of a shape that is known in advance."""
    return tf.ensure_shape(x[first : first + count], [count, *x.shape[1:]])


def clear(part: Any, valid: tf.Tensor) -> Any:
    """Zeros in the place of tasks that are not valid, in numbers that may hold NaN."""

    def cleared(x: tf.Tensor) -> tf.Tensor:
        return select(valid, x, tf.zeros_like(x)) if x.dtype.is_floating else x

    return keras.tree.map_structure(cleared, part)
