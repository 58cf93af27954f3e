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


def finite_tasks(tasks: Tasks) -> tf.Tensor:
    parts = [part for part in tf.nest.flatten(tuple(tasks)) if part.dtype.is_floating]
    all_tasks = tf.ones([tasks.count], tf.bool)
    return tf.reduce_all(tf.stack([all_tasks, *map(finite, parts)]), axis=0)


def clear(part: Any, valid: tf.Tensor) -> Any:
    def cleared(x: tf.Tensor) -> tf.Tensor:
        return select(valid, x, tf.zeros_like(x)) if x.dtype.is_floating else x

    return keras.tree.map_structure(cleared, part)
