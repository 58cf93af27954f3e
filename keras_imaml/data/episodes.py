"""Few-shot episodes, drawn in the graph from a pool of examples held in memory.

An episode is a function of (seed, stream, index). Iterators can be saved and restored, two runs see
the same episodes, and episodes are drawn in parallel with training.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_imaml._compat.datasets import WrappedDataset
from keras_imaml._utils.validation import check_integer
from keras_imaml.data.stored import StoredImages, gathered, held

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
    seed, start = check_integer("seed", seed, 0), check_integer("start", start, 0)
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    base = np.frombuffer(digest[:16], dtype="<i8").astype(np.int64)

    def episode(index: tf.Tensor) -> Episode:
        key = tf.random.experimental.stateless_fold_in(base, index, alg=_GENERATOR)
        return sample(key)

    dataset = tf.data.Dataset.counter(start, dtype=tf.int64).map(
        episode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    # A checkpoint then holds the position instead of prefetched episodes.
    options = tf.data.Options()
    options.experimental_symbolic_checkpoint = True
    # Tuning gains nothing here. At its end, an iterator would wait for the tuner to wake up, and
    # `fit` would take up to twice its time, and up to a minute more.
    options.autotune.enabled = False
    return Endless(dataset.with_options(options))


class Endless(WrappedDataset):
    """A data set without an end, so that no batch is smaller than the others.

    `batch(16)` then gives meta-batches whose number of tasks is known when the graph is built,
    which is faster to build and to run. `drop_remainder` is not needed.

    Attributes:
        classes: Number of classes that the examples are drawn from, with rotated classes counted
            separately, as `class_labels=True` does. `None` if it is unknown.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        super().__init__(dataset)
        self.classes: int | None = None

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


@dataclasses.dataclass(frozen=True)
class ExamplePool:
    """Examples sorted by class, from which classification episodes are drawn.

    Args:
        examples: Array of shape `(examples, ...)`, rows of one class together. `uint8` is read as
            an image and scaled to [0, 1] in an episode; `float32` is passed on unchanged. Or
            `keras_imaml.data.stored.StoredImages`, which are read when they are drawn.
        counts: Integer array of shape `(classes,)`: the number of rows of each class, in order.
        class_names: Name of each class, for messages.

    Example:

    ```python
    from keras_imaml.data.episodes import ExamplePool

    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype="uint8")
    pool = ExamplePool.from_labels(images, np.repeat(np.arange(6), 10))
    tasks = pool.episodes(way=5, shot=1, query=4, seed=0, stream="train")
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    ```
    """

    examples: np.ndarray | StoredImages
    counts: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def from_labels(
        cls, examples: np.ndarray, labels: np.ndarray, class_names: Sequence[str] | None = None
    ) -> "ExamplePool":
        """Sorts examples by label; the order within a class is kept.

        Args:
            examples: Array of shape `(examples, ...)`.
            labels: Array of shape `(examples,)`, integers or strings.
            class_names: If given, `labels` are positions in it, and a class may be empty.
                Defaults to the sorted values of `labels`.

        Returns:
            An `ExamplePool`.
        """
        if class_names is None:
            values, labels = np.unique(labels, return_inverse=True)
            class_names = [str(value) for value in values]
        if np.any(labels[1:] < labels[:-1]):  # do not copy a large pool that is already sorted
            order = np.argsort(labels, kind="stable")
            examples, labels = examples[order], labels[order]
        counts = np.bincount(labels, minlength=len(class_names))
        return cls(examples, counts, tuple(class_names))

    def episodes(
        self,
        way: int,
        shot: int,
        query: int,
        seed: int,
        stream: str,
        rotations: bool = False,
        start: int = 0,
        class_labels: bool = False,
    ) -> Endless:
        """Episodes of `way` classes.

        Args:
            way: Number of classes of an episode, at least 2.
            shot: Number of support examples of a class, at least 1.
            query: Number of query examples of a class, at least 1; never support examples.
            seed: Non-negative integer.
            stream: Name of the stream of random numbers, usually that of the split.
            rotations: Whether each class of an episode is turned by 0, 90, 180 or 270 degrees,
                the same for its support and query images. Defaults to `False`.
            start: Index of the first episode. Defaults to 0.
            class_labels: Whether labels are the numbers of the classes in the pool, instead of 0 to
                `way - 1` in a random order. With `rotations` they are `4 * class + quarter turns`.
                Defaults to `False`.

        Returns:
            An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`, class
            by class: x is float32 of shape `(way * shot, ...)` and `(way * query, ...)`, y is
            int32.

        Raises:
            ValueError: If a number is out of range, or the pool has too few classes or examples.
        """
        self._check(way, shot, query, rotations)
        way, shot, query = int(way), int(shot), int(query)
        shape = self.examples.shape[1:]
        classes, largest = len(self.counts), int(self.counts.max())
        with tf.device("CPU:0"):  # where tf.data runs; saves memory of accelerators
            examples = held(self.examples)
            pixels = tf.constant(_turned_pixels(shape[0])) if rotations else None
            counts = tf.constant(self.counts, tf.int64)
            starts = tf.constant(np.cumsum(self.counts) - self.counts, tf.int64)

        def sample(key: tf.Tensor) -> Episode:
            class_key, example_key, rotation_key = split_key(key, 3)
            # Top-k of independent uniforms is a random draw without replacement, in random order.
            chosen = tf.math.top_k(uniform(class_key, [classes]), way).indices
            score = uniform(example_key, [way, largest])
            exists = tf.range(largest, dtype=tf.int64) < tf.gather(counts, chosen)[:, None]
            drawn = tf.math.top_k(tf.where(exists, score, -1.0), shot + query).indices
            rows = tf.gather(starts, chosen)[:, None] + tf.cast(drawn, tf.int64)
            numbers = chosen
            if pixels is None:
                x = gathered(examples, rows)
            else:
                quarters = tf.cast(uniform(rotation_key, [way], 0.0, 4.0), tf.int32)
                x = _gather_turned(examples, rows, tf.gather(pixels, quarters))
                numbers = 4 * chosen + quarters
            y = numbers if class_labels else tf.range(way)
            return (
                (_rows_of(x[:, :shot], way * shot, shape), _repeated(y, shot)),
                (_rows_of(x[:, shot:], way * query, shape), _repeated(y, query)),
            )

        episodes = stream_of_episodes(sample, seed, stream, start)
        episodes.classes = classes * (4 if rotations else 1)
        return episodes

    def _check(self, way: int, shot: int, query: int, rotations: bool) -> None:
        check_integer("way", way, 2)
        check_integer("shot", shot, 1)
        check_integer("query", query, 1)
        if way > len(self.counts):
            raise ValueError(
                f"Invalid value for `way`. Expected at most {len(self.counts)}, the number of "
                f"classes in the pool: ask for fewer, or add classes. Received: way={way}"
            )
        smallest = int(np.argmin(self.counts))
        if shot + query > self.counts[smallest]:
            raise ValueError(
                "Invalid value for `shot` and `query`. Expected shot + query to be at most the "
                f"number of examples of the smallest class, {self.class_names[smallest]!r}, which "
                f"has {self.counts[smallest]}: ask for fewer, or leave that class out. "
                f"Received: shot={shot}, query={query}"
            )
        shape = self.examples.shape
        if rotations and (len(shape) != 4 or shape[1] != shape[2]):
            raise ValueError(
                "Invalid value for `rotations`. Expected square images of shape (n, size, size, "
                f"channels) to turn, or rotations=False. Received: rotations={rotations}, "
                f"examples of shape {shape}"
            )


def _rows_of(x: tf.Tensor, rows: int, shape: tuple[int, ...]) -> tf.Tensor:
    x = tf.reshape(x, (rows, *shape))
    return tf.cast(x, tf.float32) / 255.0 if x.dtype == tf.uint8 else x


def _repeated(labels: tf.Tensor, times: int) -> tf.Tensor:
    """Each label `times` times, in a shape that is known."""
    return tf.reshape(tf.tile(labels[:, None], [1, times]), [labels.shape[0] * times])


def _turned_pixels(size: int) -> np.ndarray:
    """Row q: where each pixel of an image turned anticlockwise q times comes from."""
    pixels = np.arange(size * size, dtype=np.int64).reshape(size, size)
    return np.stack([np.rot90(pixels, quarters).ravel() for quarters in range(4)])


def _gather_turned(examples: Any, rows: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Images `rows[class]` with the pixels in the order `pixels[class]`, in a single gather."""
    if isinstance(examples, StoredImages):
        return examples.read_turned(rows, pixels)
    size, channels = examples.shape[1], examples.shape[3]
    flat = tf.reshape(examples, (-1, channels))
    turned = tf.gather(flat, rows[:, :, None] * (size * size) + pixels[:, None, :])
    return tf.reshape(turned, (*rows.shape, size, size, channels))
