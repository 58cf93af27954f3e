"""Few-shot episodes, drawn in the graph from a pool of examples held in memory.

An episode is a function of (seed, stream, index). Iterators can be saved and restored, two runs see
the same episodes, and episodes are drawn in parallel with training.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.stored import StoredImages, gathered, held
from keras_imaml.data.streams import (
    Endless,
    Episode,
    random_keys,
    split_key,
    stream_of_episodes,
    uniform,
)
from keras_imaml.data.task_sizes import SizeRule, Sizes, check_sizes, size_rule
from keras_imaml.data.unequal import UnequalTasks, padded_rows


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
        way: Sizes,
        shot: Sizes,
        query: Sizes,
        seed: int,
        stream: str,
        rotations: bool = False,
        start: int = 0,
        class_labels: bool = False,
        sampler: str = "uniform",
        buckets: int = 1,
    ) -> Endless:
        """Episodes of `way` classes.

        If a number is a range, or with `sampler="meta_dataset"`, tasks have any size: a class with
        fewer examples than asked for gives what it has, and elements have weights of examples.

        Args:
            way: Number of classes of an episode, at least 2, or the range `(fewest, most)`.
            shot: Number of support examples of a class, at least 1, or a range.
            query: Number of query examples of a class, at least 1, or a range; never support
                examples.
            seed: Non-negative integer.
            stream: Name of the stream of random numbers, usually that of the split.
            rotations: Whether each class of an episode is turned by 0, 90, 180 or 270 degrees,
                the same for its support and query images. Defaults to `False`.
            start: Index of the first episode. Defaults to 0.
            class_labels: Whether labels are the numbers of the classes in the pool, instead of 0 to
                `way - 1` in a random order. With `rotations` they are `4 * class + quarter turns`.
                Defaults to `False`.
            sampler: `"uniform"`, or `"meta_dataset"` for the rules of
                `keras_imaml.data.task_sizes.MetaDatasetRule`. Defaults to `"uniform"`.
            buckets: Into how many parts tasks of any size are sorted. Defaults to 1.

        Returns:
            An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`, class
            by class: x is float32 of shape `(way * shot, ...)` and `(way * query, ...)`, y is
            int32. Of tasks of any size, see `UnequalTasks`.

        Raises:
            ValueError: If a number is out of range, or the pool has too few classes or examples.
        """
        rule = size_rule(way, shot, query, sampler, len(self.counts))
        self._check_turns(rotations)
        draw = _Draw(self, rotations, class_labels)
        if rule is None:
            sizes = self._check(way, shot, query)
            check_integer("buckets", buckets, 1)
            episodes = stream_of_episodes(lambda key: draw.equal(key, *sizes), seed, stream, start)
        else:
            self._check_unequal(rule)
            episodes = draw.unequal(rule, random_keys(seed, stream), start, buckets)
        episodes.classes = len(self.counts) * (4 if rotations else 1)
        if not class_labels:
            episodes.way = check_sizes("way", way, 2) if rule is None else rule.way
        return episodes

    def _check(self, way: Any, shot: Any, query: Any) -> tuple[int, int, int]:
        self._check_way(int(way))
        smallest = int(np.argmin(self.counts))
        if shot + query > self.counts[smallest]:
            raise ValueError(
                "Invalid value for `shot` and `query`. Expected shot + query to be at most the "
                f"number of examples of the smallest class, {self.class_names[smallest]!r}, which "
                f"has {self.counts[smallest]}: ask for fewer, or leave that class out; ranges such "
                f"as shot=(1, {int(shot)}) take what a class has. "
                f"Received: shot={shot}, query={query}"
            )
        return int(way), int(shot), int(query)

    def _check_unequal(self, rule: SizeRule) -> None:
        self._check_way(rule.way[1])
        smallest = int(np.argmin(self.counts))
        if self.counts[smallest] < 2:
            raise ValueError(
                "Invalid value for the examples. Expected at least two of each class, one to adapt "
                f"to and one to query: leave class {self.class_names[smallest]!r} out. "
                f"Received: {self.counts[smallest]}"
            )

    def _check_way(self, way: int) -> None:
        if way > len(self.counts):
            raise ValueError(
                f"Invalid value for `way`. Expected at most {len(self.counts)}, the number of "
                f"classes in the pool: ask for fewer, or add classes. Received: way={way}"
            )

    def _check_turns(self, rotations: bool) -> None:
        shape = self.examples.shape
        if rotations and (len(shape) != 4 or shape[1] != shape[2]):
            raise ValueError(
                "Invalid value for `rotations`. Expected square images of shape (n, size, size, "
                f"channels) to turn, or rotations=False. Received: rotations={rotations}, "
                f"examples of shape {shape}"
            )


class _Draw:
    """Draws episodes from a pool, in the graph.

    Args:
        pool: The pool.
        rotations: As for `ExamplePool.episodes`.
        class_labels: As for `ExamplePool.episodes`.
    """

    def __init__(self, pool: ExamplePool, rotations: bool, class_labels: bool) -> None:
        self._pool = pool
        self._class_labels = class_labels
        self._shape = pool.examples.shape[1:]
        self._largest = int(pool.counts.max())
        with tf.device("CPU:0"):  # where tf.data runs; saves memory of accelerators
            self._examples = held(pool.examples)
            self._pixels = tf.constant(_turned_pixels(self._shape[0])) if rotations else None
            self._counts = tf.constant(pool.counts, tf.int64)
            self._starts = tf.constant(np.cumsum(pool.counts) - pool.counts, tf.int64)

    def equal(self, key: tf.Tensor, way: int, shot: int, query: int) -> Episode:
        """An episode of a fixed size."""
        class_key, example_key, rotation_key = split_key(key, 3)
        chosen = self._classes(class_key, way)
        rows = self._rows(example_key, chosen, shot + query)
        quarters, labels = self._turns(rotation_key, chosen)
        x = self._images(rows, quarters)
        return (
            (_rows_of(x[:, :shot], way * shot, self._shape), _repeated(labels, shot)),
            (_rows_of(x[:, shot:], way * query, self._shape), _repeated(labels, query)),
        )

    def unequal(
        self,
        rule: SizeRule,
        key_of: Callable[[tf.Tensor], tf.Tensor],
        start: int,
        buckets: int,
    ) -> UnequalTasks:
        """Episodes of any size."""
        way, most = rule.way[1], min(rule.drawn, self._largest)

        def composition(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list]:
            class_key, size_key, *keys = split_key(key_of(number), 4)
            chosen = self._classes(class_key, way)
            shots, queries = rule.draw(size_key, tf.gather(self._counts, chosen))
            return chosen, shots, queries, keys

        def sizes(number: tf.Tensor) -> tf.Tensor:
            _, shots, queries, _ = composition(number)
            return tf.stack([tf.reduce_sum(shots), tf.reduce_sum(queries)])

        def task(number: tf.Tensor, support_rows: Any, query_rows: Any) -> Any:
            chosen, shots, queries, (example_key, rotation_key) = composition(number)
            rows = self._rows(example_key, chosen, most)
            quarters, labels = self._turns(rotation_key, chosen)
            place = tf.range(most)
            is_support = place < shots[:, None]
            is_query = (place < (shots + queries)[:, None]) & ~is_support

            def padded(present: tf.Tensor, count: Any) -> Any:
                position, weights = padded_rows(tf.reshape(present, [-1]), count)
                of_class = position // most
                turned = None if quarters is None else tf.gather(quarters, of_class)
                x = self._images(tf.gather(tf.reshape(rows, [-1]), position)[:, None], turned)
                x = _rows_of(x, count, self._shape)
                return x, tf.gather(labels, of_class), weights

            return padded(is_support, support_rows), padded(is_query, query_rows)

        return UnequalTasks(task, sizes, rule.largest(self._pool.counts), start, buckets)

    def _classes(self, key: tf.Tensor, way: int) -> tf.Tensor:
        # Top-k of independent uniforms is a random draw without replacement, in random order.
        return tf.math.top_k(uniform(key, [len(self._pool.counts)]), way).indices

    def _rows(self, key: tf.Tensor, chosen: tf.Tensor, most: int) -> tf.Tensor:
        """Rows of random examples of each class, `[classes, most]`; existing ones come first."""
        counts = tf.gather(self._counts, chosen)[:, None]
        score = uniform(key, [chosen.shape[0], self._largest])
        exists = tf.range(self._largest, dtype=tf.int64) < counts
        drawn = tf.math.top_k(tf.where(exists, score, -1.0), most).indices
        return tf.gather(self._starts, chosen)[:, None] + tf.cast(drawn, tf.int64)

    def _turns(self, key: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
        """The quarter turns of each class, if any, and its label."""
        quarters, numbers = None, chosen
        if self._pixels is not None:
            quarters = tf.cast(uniform(key, [chosen.shape[0]], 0.0, 4.0), tf.int32)
            numbers = 4 * chosen + quarters
        return quarters, numbers if self._class_labels else tf.range(chosen.shape[0])

    def _images(self, rows: tf.Tensor, quarters: tf.Tensor | None) -> tf.Tensor:
        if quarters is None:
            return gathered(self._examples, rows)
        return _gather_turned(self._examples, rows, tf.gather(self._pixels, quarters))


def _rows_of(x: tf.Tensor, rows: Any, shape: tuple[int, ...]) -> tf.Tensor:
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
    return tf.reshape(turned, (-1, *rows.shape[1:], size, size, channels))
