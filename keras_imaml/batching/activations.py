"""What layers give for all tasks together, and what a rule of a layer sees beside it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.grouped_convolution import folded, unfolded


class Activations(NamedTuple):
    """What lies between two layers, for all tasks.

    Attributes:
        value: `[tasks, examples, ...]`, or folded: `[examples, height, width, tasks x channels]`.
        folded: Which of the two.
    """

    value: tf.Tensor
    folded: bool


class Weight(NamedTuple):
    """A weight of a layer: `[tasks, *shape]` if it adapts, else `[*shape]`."""

    value: tf.Tensor
    adapts: bool


class Meta(NamedTuple):
    """What rules see of an evaluation beside the activations.

    Attributes:
        tasks: Their number; an integer where it is known when the graph is built.
        weight: From a variable to its `Weight`.
        support_rows: The number of leading examples that give the statistics of
            `TaskBatchNormalization`; None: all of them.
        counted: `[tasks, examples]`, bool, or None: in its place, the examples that give them.
    """

    tasks: Any
    weight: Callable[[keras.Variable], Weight]
    support_rows: Any
    counted: tf.Tensor | None = None

    def folded(self, x: Activations) -> tf.Tensor:
        """Images, folded."""
        return x.value if x.folded else folded(x.value)

    def unfolded(self, x: Activations) -> tf.Tensor:
        """`[tasks, examples, ...]`."""
        return unfolded(x.value, self.tasks) if x.folded else x.value
