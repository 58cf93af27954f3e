"""The losses of the two levels, as `compile` takes them."""

import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import compiled_loss, given_loss_weights, untrack
from keras_imaml.algorithms import Algorithm
from keras_imaml.distribution import replicas
from keras_imaml.learner.level_loss import LevelLoss
from keras_imaml.learner.loss_variables import LossVariables, variables_of
from keras_imaml.learner.mixin import ModelMixin
from keras_imaml.learner.objective_builder import ObjectiveBuilder
from keras_imaml.objectives.learned_loss import LearnedLoss


class TwoLosses(ModelMixin):
    """A mixin of `MetaLearner`, which knows the loss of each level."""

    algorithm: Algorithm
    learned_loss: LearnedLoss | None
    loss_variables: LossVariables
    loss: Any
    model: keras.Model
    _objectives: ObjectiveBuilder

    @property
    def inner_loss(self) -> Any:
        """The loss by which tasks adapt, as `compile` got it: `inner_loss`, or else `loss`."""
        return self._objectives.inner_loss.given

    @property
    def outer_penalties(self) -> bool:
        """Whether the penalties of the network count in the outer objective."""
        return self._objectives.outer_penalties

    @property
    def output_names(self) -> list[str] | None:
        """The names of the network's outputs, by which Keras names losses and metrics."""
        return getattr(self.model, "output_names", None)

    def _check_inner_loss(self, loss: Any, inner_loss: Any) -> None:
        """Refuse losses by which tasks cannot adapt, by a `ValueError`."""
        if inner_loss is not None and self.learned_loss is not None:
            raise ValueError(
                "Invalid value for `inner_loss`. Expected None for a learner with `learned_loss`, "
                "by which its tasks adapt already: make a MetaLearner without one. "
                f"Received: inner_loss={inner_loss!r}"
            )
        for part in keras.tree.flatten(inner_loss):
            if _is_unbuilt(part):
                raise ValueError(
                    "Invalid value for `inner_loss`. Expected a layer that is built: call it once "
                    "on labels and outputs, or make its weights in `__init__`. "
                    f"Received: inner_loss={part!r}"
                )
        if self.learned_loss is None:
            self.algorithm.check_loss(loss if inner_loss is None else inner_loss)
        constants = [v.path for v in variables_of(loss) if v.trainable]
        paths = {v.path for v in self.variables}
        if inner_loss is None and set(constants) - paths:
            warnings.warn(
                "The loss has trainable variables, which stay as they are: nothing trains the "
                "variables of `loss`. compile(loss=..., inner_loss=...) learns those of the inner "
                "loss; trainable=False on them says that they are constants. "
                f"Received: {constants}",
                stacklevel=3,
            )

    def _set_losses(self, loss: Any, inner_loss: Any, outer_penalties: bool | None) -> None:
        """Take the losses after Keras has taken its own, and track the variables of the inner."""
        names, compiled = self.output_names, compiled_loss(self)
        outer, inner = LevelLoss(compiled, loss, names), None
        if inner_loss is not None:
            weights = given_loss_weights(compiled)
            inner = LevelLoss(
                type(compiled)(inner_loss, weights, output_names=names), inner_loss, names
            )
        if outer_penalties is None:
            outer_penalties = self.algorithm.outer_penalties
        self._objectives.set_losses(outer, inner, bool(outer_penalties))
        if hasattr(self, "loss_variables"):
            untrack(self, self.loss_variables)
            del self.loss_variables
        if self._objectives.loss_variables:
            self.loss_variables = LossVariables(self._objectives.loss_variables)
            strategy = tf.distribute.get_strategy()
            replicas.check_variables(strategy, self.loss_variables.variables, "the inner loss")


def _is_unbuilt(part: Any) -> bool:
    """Whether this is a layer that would make its weights when it is called."""
    is_layer = isinstance(part, keras.layers.Layer)
    return is_layer and not part.built and type(part).build is not keras.layers.Layer.build
