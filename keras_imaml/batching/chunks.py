"""The tasks of a meta-batch a few at a time, where all at once would not fit the caches."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_graph import nodes_of

CACHE_BYTES = 16 * 2**20
"""Activations that are evaluated at once, about: what stays near the cores of a processor."""


def tasks_at_once(model: keras.Model, tasks: Any, examples: Any) -> Any:
    """How many tasks to evaluate together: a divisor of `tasks` that the caches hold.

    All of them, where one cannot tell or there is no divisor of about that size.

    Args:
        model: The network; the sizes of what its layers give are known if it is functional.
        tasks: Their number; static, or a tensor.
        examples: Examples of each task; static, or a tensor.
    """
    if not isinstance(tasks, int) or not isinstance(examples, int):
        return tasks
    numbers = 0
    for output in [x for node in nodes_of(model) or () for x in node.outputs]:
        shape = output.shape[1:]
        if any(size is None for size in shape):
            return tasks
        numbers += math.prod(shape)
    fit = max(1, CACHE_BYTES // max(1, 4 * numbers * examples))
    best = max(n for n in range(1, tasks + 1) if tasks % n == 0 and n <= fit)
    return best if 4 * best >= fit else tasks  # 17 tasks have no parts but single ones


def is_whole(tasks: Any, at_once: Any) -> bool:
    """Whether a chunk holds all tasks, as far as one can tell when the graph is built."""
    return at_once is tasks or (isinstance(tasks, int) and at_once == tasks)


def slice_tasks(x: tf.Tensor, first: int | tf.Tensor, count: int) -> tf.Tensor:
    """`count` rows of `x` from number `first` on, of a shape that is known in advance."""
    return tf.ensure_shape(x[first : first + count], [count, *x.shape[1:]])


def part_size(tasks: Any, limit: int | None) -> int | None:
    """The largest divisor of `tasks` within `limit`; None if they need not be split."""
    if limit is None or (isinstance(tasks, int) and tasks <= limit):
        return None
    if not isinstance(tasks, int):
        return 1
    return max(n for n in range(1, limit + 1) if tasks % n == 0)


def over_chunks(
    function: Callable[[tf.Tensor], tuple[Any, list[tf.Tensor]]],
    tasks: Any,
    at_once: Any,
    dtypes: Any,
    sums: Sequence[tf.Tensor] = (),
) -> tuple[Any, list[tf.Tensor]]:
    """Call `function(first)` for every chunk of tasks, one after the other.

    Args:
        function: From the number of the first task of a chunk to tensors `[at_once, ...]`, and
            tensors to be added up.
        tasks: The number of tasks.
        at_once: A divisor of it. All of them: the function is called once, without a loop.
        dtypes: The structure of the first, with a dtype in the place of each.
        sums: Zeros for the second.

    Returns:
        The tensors of all chunks joined, `[tasks, ...]`, and the sums.
    """
    if is_whole(tasks, at_once):
        return function(tf.constant(0))
    count = tasks // at_once
    arrays = tf.nest.map_structure(lambda dtype: tf.TensorArray(dtype, count), dtypes)

    def body(number: tf.Tensor, arrays: Any, sums: list) -> tuple:
        parts, more = function(number * at_once)
        arrays = tf.nest.map_structure(lambda a, part: a.write(number, part), arrays, parts)
        return number + 1, arrays, [a + b for a, b in zip(sums, more, strict=True)]

    _, arrays, sums = tf.while_loop(
        lambda number, *_: number < count,
        body,
        (tf.constant(0), arrays, list(sums)),
        parallel_iterations=1,
    )
    return tf.nest.map_structure(lambda array: array.concat(), arrays), list(sums)
