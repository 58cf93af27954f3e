"""Episodes that a function of the user draws."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.streams import Endless


def from_function(
    draw: Callable[[np.random.Generator], Any], seed: int = 0, start: int = 0
) -> tf.data.Dataset:
    """Episodes that a NumPy function draws: regressions, sentences, tables, time series.

    Args:
        draw: A function from a `numpy.random.Generator` to one task, `((support_x, support_y),
            (query_x, query_y))`: arrays without a task axis, or structures of them such as a dict
            of inputs. Shapes, dtypes and structure must be the same for every task.
        seed: Non-negative integer. Use different ones for training, validation and test. Defaults
            to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.

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
    first_task = draw(np.random.default_rng([seed, start]))
    try:
        (_, _, *_), (_, _, *_) = first_task
        lists = [part for pair in first_task for part in pair if isinstance(part, list)]
        if lists:
            raise TypeError(f"a list, {lists[0]!r}: make it an array, or a tuple of arrays")
        spec = tf.nest.map_structure(_spec, tuple(map(tuple, first_task)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Invalid value for `draw`. Expected it to return arrays ((support_x, support_y), "
            f"(query_x, query_y)) of one task. Received: {error}"
        ) from error

    def episodes() -> Iterator[Any]:
        number = start
        while True:
            task = tuple(map(tuple, draw(np.random.default_rng([seed, number]))))
            if (found := tf.nest.map_structure(_spec, task)) != spec:
                raise ValueError(
                    "Invalid task from `draw`. Expected shapes and dtypes like those of the first, "
                    f"{spec}. Received: {found} for number {number}"
                )
            yield task
            number += 1

    return Endless(tf.data.Dataset.from_generator(episodes, output_signature=spec))


def _spec(part: Any) -> tf.TensorSpec:
    array = np.asarray(part)
    return tf.TensorSpec(array.shape, array.dtype)
