"""A schedule of inner steps: the first tasks of training adapt in few steps."""

from typing import Any

import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.changed import changed


def with_growing_steps(
    tasks: tf.data.Dataset, first: int, last: int, growth: int, start: int = 0
) -> tf.data.Dataset:
    """Let the number of inner steps grow from task to task.

    Early in training weights change quickly, and rough solutions of the inner problem do. Steps
    that are left out save time. The number grows linearly, and stays at `last` after `growth`
    tasks. It takes the place of the solver's `steps`.

    Args:
        tasks: Infinite episodes, without a task axis, as the functions of `keras_imaml.data` make
            them.
        first: Inner steps of the first task, 1 or more.
        last: Inner steps after the growth, at least `first`.
        growth: Tasks until then, 1 or more.
        start: Number of episodes that `tasks` has skipped. Defaults to `0`.

    Returns:
        A `tf.data.Dataset` like `tasks`, whose elements have a third part: the number of steps.

    Raises:
        ValueError: If a number is out of range, or elements have numbers of steps already.

    Example:

    ```python
    tasks = ki.data.glyphs("train", seed=1)
    tasks = ki.data.with_growing_steps(tasks, first=4, last=16, growth=8000).batch(16)
    ```
    """
    first = check_integer("first", first, 1)
    last = check_integer("last", last, first)
    growth = check_integer("growth", growth, 1)
    start = check_integer("start", start, 0)
    if len(tasks.element_spec) != 2:
        raise ValueError(
            "Invalid value for `tasks`. Expected elements (support, query). Received: "
            f"{len(tasks.element_spec)} parts"
        )

    def with_steps(element: Any, number: tf.Tensor) -> Any:
        steps = first + (last - first) * tf.minimum(number, growth) // growth
        return (*element, tf.cast(steps, tf.int32))

    return changed(tasks, with_steps, start)
