"""How many classes a task has, and how many examples of each: ranges, or the rules of a paper."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from keras_imaml._utils.validation import check_choice, check_integer
from keras_imaml.data.streams import split_key, uniform

Sizes: TypeAlias = int | tuple[int, int]
"""A number, or the smallest and the largest one."""

SAMPLERS = ("uniform", "meta_dataset")

_MOST_SUPPORT = 500  # of a task of Meta-Dataset
_LOG_WEIGHT = math.log(2.0)  # its classes are more or less frequent by up to this factor


class SizeRule(Protocol):
    """How the sizes of a task are drawn.

    Attributes:
        way: The fewest and the most classes of a task.
        drawn: The most examples of a class, of both sets.
    """

    @property
    def way(self) -> tuple[int, int]: ...

    @property
    def drawn(self) -> int: ...

    def draw(self, key: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The support and query examples of each class, int32 `[most classes]`.

        Classes that the task does not have come last, and have none.

        Args:
            key: Key of the random numbers.
            counts: Examples of each class that there are, int64 `[most classes]`.
        """
        ...

    def largest(self, counts: np.ndarray) -> tuple[int, int]:
        """The most examples of a support set and of a query set.

        Args:
            counts: Examples of every class of the pool.
        """
        ...


def check_sizes(name: str, value: Any, minimum: int) -> tuple[int, int]:
    """The smallest and the largest number that `value` stands for.

    Raises:
        ValueError: If it is neither an integer nor a pair of them in order.
    """
    if not isinstance(value, (tuple, list)):
        number = check_integer(name, value, minimum)
        return number, number
    try:
        low, high = value
        return check_integer(name, low, minimum), check_integer(name, high, max(minimum, low))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Invalid value for `{name}`. Expected an integer of at least {minimum}, or a pair of "
            f"them, the smaller one first. Received: {name}={value!r}"
        ) from error


def size_rule(way: Sizes, shot: Sizes, query: Sizes, sampler: str, classes: int) -> SizeRule | None:
    """The rule for tasks of any size; None if all tasks have the same size.

    Args:
        way: Classes of a task.
        shot: Support examples of a class.
        query: Query examples of a class.
        sampler: `"uniform"` or `"meta_dataset"`.
        classes: Number of classes in the pool.

    Raises:
        ValueError: If a number is out of range, or the arguments do not go together.
    """
    check_choice("sampler", sampler, SAMPLERS)
    ways, shots = check_sizes("way", way, 2), check_sizes("shot", shot, 1)
    queries = check_sizes("query", query, 1)
    if sampler == "meta_dataset":
        if not isinstance(shot, (tuple, list)) or shots[0] != 1 or isinstance(query, (tuple, list)):
            raise ValueError(
                "Invalid value for `shot` or `query`. Expected a range of shots from 1 on, and one "
                "number of queries, with sampler='meta_dataset': way=(5, 50), shot=(1, 100), "
                f"query=10 are those of the paper. Received: shot={shot!r}, query={query!r}"
            )
        ways = min(ways[0], classes), min(ways[1], classes)
        return MetaDatasetRule(ways, shots[1], queries[1])
    if not any(isinstance(value, (tuple, list)) for value in (way, shot, query)):
        return None
    return UniformRule(ways, shots, queries)


@dataclass(frozen=True)
class UniformRule:
    """Every number is uniform in its range: the classes of a task, the examples of each class.

    Of a class with fewer examples, one is kept for the query set, and support comes first.
    """

    way: tuple[int, int]
    shot: tuple[int, int]
    query: tuple[int, int]

    @property
    def drawn(self) -> int:
        """See `SizeRule`."""
        return self.shot[1] + self.query[1]

    def draw(self, key: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `SizeRule.draw`."""
        way_key, shot_key, query_key = split_key(key, 3)
        most = self.way[1]
        in_task = tf.range(most) < integers(way_key, [], self.way)
        counts = tf.cast(counts, tf.int32)
        shots = tf.minimum(integers(shot_key, [most], self.shot), counts - 1)
        queries = tf.minimum(integers(query_key, [most], self.query), counts - shots)
        return tf.where(in_task, shots, 0), tf.where(in_task, queries, 0)

    def largest(self, counts: np.ndarray) -> tuple[int, int]:
        """See `SizeRule.largest`."""
        fewest = np.minimum(self.shot[0], counts - 1)
        support = np.minimum(self.shot[1], counts - 1)
        query = np.minimum(self.query[1], counts - fewest)
        return _most(support, self.way[1]), _most(query, self.way[1])


@dataclass(frozen=True)
class MetaDatasetRule:
    """The rules by which Meta-Dataset draws tasks, without its hierarchies of classes.

    Args:
        way: The fewest and the most classes; 5 and 50 in the paper.
        shot: The most that a class adds to the size of the support set; 100 in the paper.
        query: The most query examples of a class; 10 in the paper.

    References:
        Triantafillou et al., 2020, section 3.2, https://arxiv.org/abs/1903.03096.
    """

    way: tuple[int, int]
    shot: int
    query: int

    @property
    def drawn(self) -> int:
        """See `SizeRule`."""
        return max(_MOST_SUPPORT, self.way[1]) + self.query

    def draw(self, key: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `SizeRule.draw`."""
        way_key, share_key, weight_key = split_key(key, 3)
        most = self.way[1]
        way = integers(way_key, [], self.way)
        in_task = tf.range(most) < way
        counts = tf.cast(counts, tf.int32)
        # As many queries of each class, at most half of the smallest one.
        smallest = tf.reduce_min(tf.where(in_task, counts, counts.dtype.max))
        queries = tf.minimum(self.query, smallest // 2)
        remaining = counts - queries
        share = tf.cast(uniform(share_key, []), tf.float64)
        parts = tf.floor(share * tf.cast(tf.minimum(self.shot, remaining), tf.float64) + 1)
        total = tf.reduce_sum(tf.where(in_task, parts, 0.0))
        spare = tf.minimum(total, max(_MOST_SUPPORT, most)) - tf.cast(way, tf.float64)
        log_weights = tf.cast(uniform(weight_key, [most], -_LOG_WEIGHT, _LOG_WEIGHT), tf.float64)
        weights = tf.where(in_task, tf.cast(counts, tf.float64) * tf.exp(log_weights), 0.0)
        wanted = 1 + tf.cast(tf.floor(weights / tf.reduce_sum(weights) * spare), tf.int32)
        shots = tf.minimum(wanted, remaining)
        return tf.where(in_task, shots, 0), tf.where(in_task, queries, 0)

    def largest(self, counts: np.ndarray) -> tuple[int, int]:
        """See `SizeRule.largest`."""
        most = self.way[1]
        support = _most(np.minimum(self.shot, counts - 1), most)
        query = most * min(self.query, int(counts.max()) // 2)
        return min(support, max(_MOST_SUPPORT, most)), query


def of_any_size(
    sample: Callable[[tf.Tensor], Any], shot: Sizes, query: Sizes
) -> Callable[[tf.Tensor], Any]:
    """Episodes with weights of examples, of which a random number is there; if one is a range.

    Args:
        sample: From a key to an episode of the most examples.
        shot: Support examples.
        query: Query examples.
    """
    if not any(isinstance(value, (tuple, list)) for value in (shot, query)):
        return sample
    ranges = check_sizes("shot", shot, 1), check_sizes("query", query, 1)

    def weighted(key: tf.Tensor) -> Any:
        sample_key, *size_keys = split_key(key, 3)
        sets = zip(sample(sample_key), size_keys, ranges, strict=True)
        return tuple(
            (*part, tf.cast(tf.range(ends[1]) < integers(size_key, [], ends), tf.float32))
            for part, size_key, ends in sets
        )

    return weighted


def integers(key: tf.Tensor, shape: list[int], ends: tuple[int, int]) -> tf.Tensor:
    """Uniform integers, int32, both ends included."""
    low, high = ends
    drawn = tf.cast(tf.floor(uniform(key, shape, low, high + 1)), tf.int32)
    return tf.minimum(drawn, high)  # single precision may round up


def _most(counts: np.ndarray, classes: int) -> int:
    """The most examples that so many classes have together."""
    return int(np.sort(counts)[-classes:].sum())
