"""Reptile: move theta towards the adapted weights."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.vectors import norm, select
from keras_imaml.algorithms.algorithm import Algorithm, MetaGradient
from keras_imaml.inner import Adam, InnerSolver
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.task_objective import TaskObjective


@keras.saving.register_keras_serializable(package="keras_imaml")
class Reptile(Algorithm):
    """Train on all examples of a task, and use `theta - phi` as the meta-gradient.

    Needs no second derivatives. In training, the inner solver sees support and query examples
    together. Evaluation adapts to the support set alone.

    Args:
        inner: The inner solver. Defaults to `keras_imaml.inner.Adam(steps=8)`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.Conv4(5), ki.Reptile(), transductive=True)
    learner.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    ```

    References:
        Nichol, Achiam, Schulman: On First-Order Meta-Learning Algorithms, 2018.
    """

    diagnostics = ("inner_steps", "distance")
    joins_examples = True

    def __init__(self, inner: InnerSolver | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner or Adam(steps=8)
        self._check_inner(proximal=False, learns_rate=False)

    def prepare(self, parameters: Parameters) -> None:
        """See `Algorithm.prepare`: weights that do not adapt have no update."""
        if parameters.shared:
            raise ValueError(
                "Invalid value for `adapt`. Expected None with keras_imaml.Reptile, which moves "
                "weights to where they adapt: others would never be learned. Freeze them "
                "(`layer.trainable = False`) to say so. Received: an `adapt` that leaves out "
                f"{[v.path for v in parameters.shared]}"
            )
        super().prepare(parameters)

    def strength(self) -> tf.Tensor:
        """See `Algorithm.strength`: there is no proximal term."""
        return tf.zeros([], self.parameters.dtype)

    def check_learned_loss(self) -> None:
        """See `Algorithm.check_learned_loss`."""
        raise ValueError(
            "Invalid value for `learned_loss`. Expected None with keras_imaml.Reptile: it moves "
            "theta towards what the inner loss leads to, and has no gradient to train that loss "
            "by. Use keras_imaml.IMAML or keras_imaml.MAML."
        )

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        adapted = self.adapt(objective.on(objective.tasks.merged()))
        losses, outputs = objective.query_losses(adapted.phi)
        valid = objective.valid & adapted.valid & tf.math.is_finite(losses)
        theta = self.parameters.theta()
        displacement = select(valid, theta - adapted.phi, tf.zeros_like(adapted.phi))
        total = tf.reduce_sum(displacement, axis=0)
        return MetaGradient(
            sums=self.parameters.for_variables(total, variables),
            per_task=displacement,
            query_losses=losses,
            query_outputs=outputs,
            valid=valid,
            figures={
                "inner_steps": tf.cast(adapted.steps, displacement.dtype),
                "distance": norm(displacement),
            },
        )
