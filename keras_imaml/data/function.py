"""Episodes that a function of the user draws."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.streams import Endless


def from_function(
    draw: Callable[[np.random.Generator], Any],
    seed: int = 0,
    start: int = 0,
    largest: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Episodes that a NumPy function draws: regressions, sentences, tables, time series.

    Args:
        draw: A function from a `numpy.random.Generator` to one task, `((support_x, support_y),
            (query_x, query_y))`: arrays without a task axis, or structures of them such as a dict
            of inputs. A third entry, an integer, is the task's number of inner steps. Shapes,
            dtypes and structure must be the same for every task.
        seed: Non-negative integer. Use different ones for training, validation and test. Defaults
            to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        largest: The most support and query examples of a task. Sets may then have any size up to
            it: they are padded, and get weights of examples, 0 for padding. Defaults to `None`: all
            tasks have the size of the first.

    Returns:
        An endless `tf.data.Dataset` of what `draw` returns. Episode i depends on
        `seed` and i only.

    Raises:
        ValueError: If `draw` returns anything else, or a number is out of range.

    Example:

    ```python
    def line(rng):
        slope, x = rng.normal(), rng.uniform(-1, 1, (15, 1)).astype("float32")
        y = (slope * x).astype("float32")
        return (x[:5], y[:5]), (x[5:], y[5:])

    tasks = ki.data.from_function(line, seed=0).batch(8)
    ```
    """
    seed = check_integer("seed", seed, minimum=0)
    start = check_integer("start", start, minimum=0)
    sizes = None if largest is None else _check_largest(largest)
    first_task = draw(np.random.default_rng([seed, start]))
    try:
        (_, _, *_), (_, _, *_), *steps = first_task
        if any(np.ndim(part) or np.asarray(part).dtype.kind not in "iu" for part in steps):
            raise TypeError(f"a third part, {steps[0]!r}, that is no number of inner steps")
        lists = [part for pair in first_task[:2] for part in pair if isinstance(part, list)]
        if lists:
            raise TypeError(f"a list, {lists[0]!r}: make it an array, or a tuple of arrays")
        spec = tf.nest.map_structure(_spec, _padded(_with_tuples(first_task), sizes))
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Invalid value for `draw`. Expected it to return arrays ((support_x, support_y), "
            f"(query_x, query_y)) of one task. Received: {error}"
        ) from error

    def episodes() -> Iterator[Any]:
        number = start
        while True:
            task = _padded(_with_tuples(draw(np.random.default_rng([seed, number]))), sizes)
            if (spec_of_task := tf.nest.map_structure(_spec, task)) != spec:
                raise ValueError(
                    "Invalid task from `draw`. Expected shapes and dtypes like those of the first, "
                    f"{spec}. Received: {spec_of_task} for number {number}"
                )
            yield task
            number += 1

    return Endless(tf.data.Dataset.from_generator(episodes, output_signature=spec))


def _check_largest(largest: Any) -> tuple[int, int]:
    try:
        support, query = largest
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Invalid value for `largest`. Expected the most support and query examples, such as "
            f"(10, 20). Received: largest={largest!r}"
        ) from error
    return check_integer("largest", support, 1), check_integer("largest", query, 1)


def _padded(task: Any, largest: tuple[int, int] | None) -> Any:
    """A task with zeros behind its examples, and weights that say so."""
    if largest is None:
        return task
    sets = []
    pairs = zip(task[:2], largest, ("support", "query"), strict=True)
    for (x, y, *weights), most, name in pairs:
        arrays = [np.asarray(part) for part in tf.nest.flatten((x, y, weights))]
        counts = {array.shape[0] if array.ndim else 0 for array in arrays}
        count = counts.pop()
        if counts or not 1 <= count <= most:
            raise ValueError(
                f"Invalid task from `draw`. Expected a {name} set of 1 to {most} examples, as many "
                "in each of its arrays: draw fewer, or raise `largest`. "
                f"Received: arrays of shapes {[array.shape for array in arrays]}"
            )
        parts = (x, y, weights[0] if weights else np.ones(count, np.float32))
        sets.append(
            tf.nest.map_structure(lambda part, missing=most - count: _longer(part, missing), parts)
        )
    return (*sets, *task[2:])


def _longer(part: Any, rows: int) -> np.ndarray:
    array = np.asarray(part)
    return np.concatenate([array, np.zeros((rows, *array.shape[1:]), array.dtype)])


def _with_tuples(task: Any) -> Any:
    support, query, *steps = task
    return (tuple(support), tuple(query), *steps)


def _spec(part: Any) -> tf.TensorSpec:
    array = np.asarray(part)
    return tf.TensorSpec(array.shape, array.dtype)
