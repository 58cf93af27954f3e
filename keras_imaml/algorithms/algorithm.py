"""The interface between a learner and the ways to compute a meta-gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml.inner import InnerSolution
from keras_imaml.objective import TaskObjective
from keras_imaml.parameters import Parameters


class MetaGradient(NamedTuple):
    """The outer level of one meta-batch.

    Attributes:
        gradients: One (or None) for each variable: of the mean query loss of the sound tasks.
        per_task: `[tasks, size]`, the meta-gradient for theta task by task.
        query_losses: `[tasks]`.
        query_outputs: The network's outputs on the query sets after adaptation.
        sound: `[tasks]`, bool: tasks without NaN or infinity. The others contribute nothing.
        diagnostics: Scalars for the logs, by name.
    """

    gradients: list[Any]
    per_task: tf.Tensor
    query_losses: tf.Tensor
    query_outputs: Any
    sound: tf.Tensor
    diagnostics: dict[str, tf.Tensor]


class Algorithm(keras.layers.Layer):
    """Base of the algorithms: how tasks are adapted to, and what the meta-gradient is.

    An algorithm is a Keras layer so that the variables it owns (a learned proximal strength, a
    learned loss) train and save with the learner. Subclasses write `adapt` and `meta_gradient`.
    """

    diagnostics: tuple[str, ...] = ()
    """Names of the scalars that `meta_gradient` reports."""

    def check_loss(self, loss: Any) -> None:
        """Refuse a loss that the algorithm cannot work with, by a `ValueError`."""

    def prepare(self, parameters: Parameters) -> None:
        """Create the variables that depend on the network; the learner calls this once."""
        self.parameters = parameters
        self.built = True

    def adapt(self, objective: TaskObjective) -> InnerSolution:
        """Solve the inner problem of every task. Adapted weights are finite for every task."""
        raise NotImplementedError

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """Adapt to every task, and differentiate the mean query loss.

        Args:
            objective: The losses of the meta-batch.
            variables: What to differentiate for: the network's trainable variables and the
                algorithm's own.
        """
        raise NotImplementedError


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean of `values [tasks]` where `mask` holds; 0 where it holds nowhere."""
    values = tf.where(mask, values, tf.zeros_like(values))
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.reduce_sum(tf.cast(mask, values.dtype)))
