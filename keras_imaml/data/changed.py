"""Endless tasks, each changed by a function of it and of its number."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml.data.streams import Endless, counted, without_autograph
from keras_imaml.data.unequal import UnequalTasks


def changed(tasks: tf.data.Dataset, change: Callable[[Any, tf.Tensor], Any], start: int) -> Endless:
    """The tasks after `change(element, number)`, with the classes and ways that they have.

    Args:
        tasks: Infinite episodes, without a task axis.
        change: From an element and its number, int64, to another element.
        start: Number of the first element.
    """
    if isinstance(tasks, UnequalTasks):  # buckets need the size of a task, by its number
        skipped = start - tasks.start
        return tasks.changed(lambda element, number: change(element, number + skipped))
    numbered = tf.data.Dataset.zip(tasks, counted(lambda number: number, start))
    episodes = Endless(
        numbered.map(
            without_autograph(change), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    )
    episodes.classes = getattr(tasks, "classes", None)
    episodes.way = getattr(tasks, "way", None)
    return episodes
