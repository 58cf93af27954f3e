"""The data of a meta-batch: support and query sets, one row for each task."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.vectors import finite, select


class Tasks(NamedTuple):
    """A meta-batch: each entry holds one row (or one structure of rows) a task."""

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any

    @property
    def count(self) -> Any:
        """The number of tasks; an integer where it is known when the graph is built."""
        first, *_ = tf.nest.flatten(self.support_x)
        return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]


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
        one, other = s.shape[2:], q.shape[2:]
        if not one.is_compatible_with(other):
            raise ValueError(f"{expected} Received: {tuple(other)} after {tuple(one)}")
        if not (one.is_fully_defined() and other.is_fully_defined()):
            check = tf.debugging.assert_equal(tf.shape(s)[2:], tf.shape(q)[2:], expected)
            with tf.control_dependencies([] if check is None else [check]):
                q = tf.identity(q)
        return tf.concat([s, tf.cast(q, s.dtype)], axis=1)

    return tf.nest.map_structure(join, support, query)


def finite_tasks(tasks: Tasks) -> tf.Tensor:
    parts = [part for part in tf.nest.flatten(tuple(tasks)) if part.dtype.is_floating]
    all_tasks = tf.ones([tasks.count], tf.bool)
    return tf.reduce_all(tf.stack([all_tasks, *map(finite, parts)]), axis=0)


def clear(part: Any, valid: tf.Tensor) -> Any:
    def cleared(x: tf.Tensor) -> tf.Tensor:
        return select(valid, x, tf.zeros_like(x)) if x.dtype.is_floating else x

    return keras.tree.map_structure(cleared, part)
