"""A `tf.data.Dataset` with methods of its own, and the element that one replica gets.

Tested with TensorFlow 2.20 and 2.21. Without the private parts, Python raises an `AttributeError`
when a data set is made.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf


class WrappedDataset(tf.data.Dataset):
    """A data set with the elements of another, for classes that change its methods."""

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self._dataset = dataset
        super().__init__(dataset._variant_tensor)

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]

    @property
    def element_spec(self) -> Any:
        """The type of an element."""
        return self._dataset.element_spec


def peeked(iterator: Any) -> tuple[Any, Iterator[Any]]:
    """The spec of the elements that one replica gets, and an iterator with all of them.

    The methods `*_on_batch` of Keras give a generator, whose element is its own spec.
    """
    if not hasattr(iterator, "element_spec"):
        element = next(iterator)
        return element, itertools.chain([element], iterator)
    spec = tf.nest.map_structure(
        lambda part: getattr(part, "_value_specs", (part,))[0], iterator.element_spec
    )
    return spec, iterator


def sources(dataset: tf.data.Dataset) -> list[tf.data.Dataset]:
    """A data set and those that its elements come from, unless a function changes them."""
    datasets = [dataset]
    if "Map" not in type(dataset).__name__:
        for origin in getattr(dataset, "_inputs", list)():
            datasets += sources(origin)
    return datasets
