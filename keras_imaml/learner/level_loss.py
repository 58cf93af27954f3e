"""The loss of one level of a learner, from the labels and the outputs of one task."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.loss_scaling import losses_per_replica
from keras_imaml._utils.outputs import targets_of_outputs
from keras_imaml._utils.structures import with_none
from keras_imaml.learner.weighted_loss import weighted_loss


class LevelLoss:
    """What `compile` was given as a loss, as a function of one task.

    Args:
        compiled: Keras' `CompileLoss`, or None before `compile`.
        given: What it was made of.
        names: The names of the outputs in a functional network; None: unknown.
    """

    def __init__(self, compiled: Any, given: Any, names: Sequence[str] | None) -> None:
        self.compiled = compiled
        self.given = given
        self.names = names

    def targets(self, y: Any, outputs: Any) -> Any:
        """Targets in the structure of the outputs, with None where there is none."""
        return targets_of_outputs(with_none(y), outputs, self.names, self.given)

    def build(self, y: Any, outputs: Any) -> None:
        """Make the variables of Keras' loss, once.

        Args:
            y: Targets, as `targets` arranges them.
            outputs: Of the network.
        """
        if not self.compiled.built:
            self.compiled.build(y, outputs)

    def __call__(self, y: Any, outputs: Any, weights: tf.Tensor | None = None) -> tf.Tensor:
        """The loss of one task, a scalar.

        Args:
            y: Targets, as a user gives them.
            outputs: Of the network.
            weights: `[examples]`, 0 where there is none. Defaults to `None`: all are there.

        Raises:
            ValueError: If the loss is no single number.
        """
        y = self.targets(y, outputs)
        self.build(y, outputs)
        # A stateless scope keeps the per-output trackers of Keras out of the inner loop.
        with keras.StatelessScope(), losses_per_replica():
            if weights is None:
                loss = self.compiled(y, outputs)
            else:
                loss = weighted_loss(self.compiled, self.given, y, outputs, weights, self.names)
        if loss.shape.rank:
            raise ValueError(
                "Invalid value for `loss`. Expected one number for all examples of a task, such as "
                "their mean: a Keras loss without reduction='none'. Received: shape "
                f"{loss.shape} from {self.given!r}"
            )
        return loss
