"""The data of a meta-batch: support and query sets, one row for each task."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.vectors import finite, select

NO_LOGIT = -3e4  # its exponential is 0 in every dtype, and every dtype holds it


class Tasks(NamedTuple):
    """A meta-batch: each entry holds one row (or one structure of rows) a task.

    Attributes:
        support_x: Inputs of the support sets, `[tasks, examples, ...]`.
        support_y: Their targets.
        query_x: Inputs of the query sets.
        query_y: Their targets.
        support_weights: `[tasks, examples]`, the weights of support examples; 0 where there is no
            example. Defaults to `()`: all of them are there, with weight 1.
        query_weights: Those of the query examples.
        valid: `[tasks]`, bool: tasks that count. Filled in by `checked`.
        numbers: `[tasks]`, integers: the number of each task in the meta-batch of all replicas,
            which its random numbers depend on. Defaults to `()`: counted from 0 on.
        classes: `[tasks]`, int32: how many outputs of the network each task has a class for.
            Defaults to `()`: all of them.
        steps: `[tasks]`, int32: the number of inner steps of each task, in the place of that of
            the inner solver. Defaults to `()`: all take the solver's.
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any
    support_weights: Any = ()
    query_weights: Any = ()
    valid: Any = ()
    numbers: Any = ()
    classes: Any = ()
    steps: Any = ()

    @property
    def count(self) -> Any:
        """The number of tasks; an integer where it is known when the graph is built."""
        first, *_ = tf.nest.flatten(self.support_x)
        return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]

    def checked(self) -> "Tasks":
        """The same tasks, with zeros for those that hold NaN or infinity, which become invalid.

        They cannot spoil then what tasks compute together. A task without examples, with weights
        below zero, or with a number of steps below zero, is invalid too. Where an example is not
        there, a copy of the first one that is stands in its place: whatever a layer makes of it is
        as finite as the task.
        """
        if tf.is_tensor(self.valid):
            return self
        counts = self.steps >= 0 if tf.is_tensor(self.steps) else tf.ones([self.count], tf.bool)
        if tf.is_tensor(self.support_weights) or tf.is_tensor(self.query_weights):
            return self._filled().finite_ones(self._weights_are_valid() & counts)
        return self.finite_ones(counts)

    def present(self, query: bool) -> tf.Tensor | None:
        """`[tasks, examples]`, bool: which examples of a set are there; None: all of them."""
        weights = self.query_weights if query else self.support_weights
        return weights > 0 if tf.is_tensor(weights) else None

    def of_classes(self, outputs: Any) -> Any:
        """Outputs `[tasks, examples, outputs]` without logits of classes that a task has not."""
        if not tf.is_tensor(self.classes):
            return outputs
        present = tf.sequence_mask(self.classes, outputs.shape[-1])[:, None]
        return tf.where(present, outputs, tf.constant(NO_LOGIT, outputs.dtype))

    def finite_ones(self, valid: tf.Tensor) -> "Tasks":
        """The same with zeros for tasks that are not in `valid [tasks]`, or not finite."""
        floats = [part for part in tf.nest.flatten(self[:4]) if part.dtype.is_floating]
        valid = tf.reduce_all(tf.stack([valid, *map(finite, floats)]), axis=0)
        numbers = self.numbers if tf.is_tensor(self.numbers) else tf.range(self.count)
        return self._replace(**self._cleared(valid), valid=valid, numbers=numbers)

    def _weights_are_valid(self) -> tf.Tensor:
        """`[tasks]`, bool: weights that are finite, none below zero, and one above."""
        given = [w for w in (self.support_weights, self.query_weights) if tf.is_tensor(w)]
        one_by_one = [
            tf.reduce_all((w >= 0) & tf.math.is_finite(w), axis=1) & tf.reduce_any(w > 0, axis=1)
            for w in given
        ]
        return tf.reduce_all(tf.stack(one_by_one), axis=0)

    def _filled(self) -> "Tasks":
        """Copies of the first example that is there in the place of those that are not."""
        parts = {}
        for name in ("support", "query"):
            present = self.present(query=name == "query")
            if present is None:
                continue
            for part in (f"{name}_x", f"{name}_y"):
                parts[part] = fill(getattr(self, part), present)
            weights = getattr(self, f"{name}_weights")
            usable = present & tf.math.is_finite(weights)
            parts[f"{name}_weights"] = tf.where(usable, weights, tf.zeros_like(weights))
        return self._replace(**parts)

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
        reason = "as the algorithm adapts to both in one set"
        return self._replace(
            support_x=join_sets(self.support_x, self.query_x, reason),
            support_y=join_sets(self.support_y, self.query_y, reason),
            support_weights=join_sets(self.support_weights, self.query_weights, reason),
        )


def fill(part: Any, present: tf.Tensor) -> Any:
    """Each task's first example that is there, in the place of those that are not.

    Zeros where a task has none.

    Args:
        part: A structure of tensors, `[tasks, examples, ...]`.
        present: `[tasks, examples]`, bool.
    """
    rows = tf.range(tf.shape(present)[1])[None]
    first = tf.argmax(present, axis=1, output_type=tf.int32)[:, None]
    rows = tf.where(present, rows, first)
    some = tf.reduce_any(present, axis=1)

    def filled(x: tf.Tensor) -> tf.Tensor:
        x = select(some, x, tf.zeros_like(x))
        return tf.ensure_shape(tf.gather(x, rows, axis=1, batch_dims=1), x.shape)

    return keras.tree.map_structure(filled, part)


def slice_tasks(x: tf.Tensor, first: int | tf.Tensor, count: int) -> tf.Tensor:
    """`count` rows of `x` from number `first` on, of a shape that is known in advance."""
    return tf.ensure_shape(x[first : first + count], [count, *x.shape[1:]])


def join_sets(support: Any, query: Any, why: str) -> Any:
    """Examples of support and query sets in one set, `[tasks, examples, ...]` each.

    Args:
        support: A part of the support sets, in any structure.
        query: The same of the query sets.
        why: What joins them, for messages.

    Raises:
        ValueError: If single examples have different shapes.
    """
    expected = (
        "Invalid value for the query set. Expected examples of the same shape as in the support "
        f"set, {why}. Pad all of them to one length."
    )

    def join(s: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
        support_shape, query_shape = s.shape[2:], q.shape[2:]
        if not support_shape.is_compatible_with(query_shape):
            raise ValueError(
                f"{expected} Received: {tuple(query_shape)} after {tuple(support_shape)}"
            )
        if not (support_shape.is_fully_defined() and query_shape.is_fully_defined()):
            check = tf.debugging.assert_equal(tf.shape(s)[2:], tf.shape(q)[2:], expected)
            with tf.control_dependencies([] if check is None else [check]):
                q = tf.identity(q)
        return tf.concat([s, tf.cast(q, s.dtype)], axis=1)

    return tf.nest.map_structure(join, support, query)


def clear(part: Any, valid: tf.Tensor) -> Any:
    """Zeros in the place of tasks that are not valid, in numbers that may hold NaN."""

    def cleared(x: tf.Tensor) -> tf.Tensor:
        return select(valid, x, tf.zeros_like(x)) if x.dtype.is_floating else x

    return keras.tree.map_structure(cleared, part)
