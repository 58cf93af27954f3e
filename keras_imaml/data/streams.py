"""Endless streams of tasks: a task is a function of (seed, stream, number).

Iterators can be saved and restored, and two runs see the same tasks.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_imaml._compat.datasets import WrappedDataset
from keras_imaml._utils.tracing import builds_graph
from keras_imaml._utils.validation import check_integer

Examples: TypeAlias = tuple[tf.Tensor, tf.Tensor]
Episode: TypeAlias = tuple[Examples, Examples]

# "auto_select" would choose a generator by device, and episodes would then differ.
_GENERATOR = "philox"


def stream_of_episodes(
    sample: Callable[[tf.Tensor], Episode], seed: int, stream: str, start: int = 0
) -> "Endless":
    """An infinite data set whose element `i` is `sample(random_key(seed, stream, start + i))`.

    Args:
        sample: Makes one episode from a key (int64, shape `(2,)`) with stateless random
            operations only.
        seed: Non-negative integer. The same seed gives the same episodes.
        stream: Name of an independent stream of random numbers, for example `"train"`: two
            streams with the same seed are unrelated.
        start: Index of the first episode. Defaults to 0.

    Returns:
        A `tf.data.Dataset` of infinite cardinality. Its iterators can be saved in a
        `tf.train.Checkpoint`; only the position is stored.

    Raises:
        ValueError: If `seed` or `start` is not a non-negative integer.
    """
    key_of = random_keys(seed, stream)

    def episode(number: tf.Tensor) -> Episode:
        return sample(key_of(number))

    return Endless(counted(episode, check_integer("start", start, 0)))


def random_keys(seed: int, stream: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the number of a task to its random key, int64 `[2]`.

    Args:
        seed: As for `stream_of_episodes`.
        stream: As for `stream_of_episodes`.
    """
    seed = check_integer("seed", seed, 0)
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    base = np.frombuffer(digest[:16], dtype="<i8").astype(np.int64)
    return lambda number: tf.random.experimental.stateless_fold_in(base, number, alg=_GENERATOR)


def counted(of_number: Callable[[tf.Tensor], Any], start: int) -> tf.data.Dataset:
    """`of_number(start)`, `of_number(start + 1)`, and so on, made in parallel with training."""
    dataset = tf.data.Dataset.counter(start, dtype=tf.int64).map(
        without_autograph(of_number),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.with_options(stream_options())


def without_autograph(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of tensors as it is: a conversion takes longer than its graph, and is idle."""
    return builds_graph(tf.autograph.experimental.do_not_convert(function))


def stream_options() -> tf.data.Options:
    """Options of every stream."""
    # A checkpoint then holds the position instead of prefetched episodes.
    options = tf.data.Options()
    options.experimental_symbolic_checkpoint = True
    # Tuning gains nothing here. At its end, an iterator would wait for the tuner to wake up, and
    # `fit` would take up to twice its time, and up to a minute more.
    options.autotune.enabled = False
    return options


class Endless(WrappedDataset):
    """A data set without an end, so that no batch is smaller than the others.

    `batch(16)` then gives meta-batches whose number of tasks is known when the graph is built,
    which is faster to build and to run. `drop_remainder` is not needed.

    Attributes:
        classes: Number of classes that the examples are drawn from, with rotated classes counted
            separately, as `class_labels=True` does. `None` if it is unknown.
        way: The fewest and the most classes of a task, which its labels count. `None` if that is
            unknown.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        super().__init__(dataset)
        self.classes: int | None = None
        self.way: tuple[int, int] | None = None

    def batch(self, batch_size: Any, drop_remainder: bool = True, **kwargs: Any) -> tf.data.Dataset:
        """See `tf.data.Dataset.batch`; there is no remainder, whatever `drop_remainder` says."""
        del drop_remainder
        return super().batch(batch_size, drop_remainder=True, **kwargs)


def split_key(key: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` independent keys made from one."""
    return tf.unstack(tf.random.split(key, count, alg=_GENERATOR))


def uniform(key: tf.Tensor, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Uniform float32 numbers in [low, high)."""
    return tf.random.stateless_uniform(shape, key, low, high, alg=_GENERATOR)
