"""Training without adaptation: a baseline, and a way to pre-train."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.vectors import norm, select
from keras_imaml.algorithms.algorithm import (
    Algorithm,
    MetaGradient,
    add_gradients,
)
from keras_imaml.algorithms.query_gradient import query_gradient
from keras_imaml.inner import GradientDescent, InnerSolver
from keras_imaml.objectives.task_objective import TaskObjective


@keras.saving.register_keras_serializable(package="keras_imaml")
class Supervised(Algorithm):
    """Minimize the query loss at theta in training, and adapt only afterwards.

    With `class_labels=True` the tasks of `keras_imaml.data` have labels that mean the same in
    every task, and a network with an output for each training class learns to tell them apart. Its
    features are a strong start for an adapted head (`keras_imaml.copy_features`). The support sets
    of training tasks are not looked at.

    Args:
        inner: The inner solver of evaluation, which fine-tunes to the support set without a
            proximal term. Defaults to
            `keras_imaml.inner.GradientDescent(steps=10, learning_rate=0.1)`.

    Example:

    ```python
    tasks = ki.data.glyphs("train", way=32, shot=1, query=3, rotations=False, class_labels=True)
    network = ki.models.Conv4(tasks.classes, filters=16)
    classifier = ki.MetaLearner(
        network, ki.algorithms.Supervised(), adapt="head", transductive=True
    )
    classifier.compile(
        optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    classifier.fit(tasks.batch(1), steps_per_epoch=20)
    ```

    References:
        Chen et al., A Closer Look at Few-shot Classification, 2019 ("Baseline").
    """

    diagnostics = ("gradient_norm",)
    outer_penalties = True  # training minimizes the query loss alone

    def __init__(self, inner: InnerSolver | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner or GradientDescent(steps=10, learning_rate=0.1)
        self._check_inner(proximal=False, learns_rate=False)

    def strength(self) -> tf.Tensor:
        """See `Algorithm.strength`: there is no proximal term."""
        return tf.zeros([], self.parameters.dtype)

    def check_learned_loss(self) -> None:
        """See `Algorithm.check_learned_loss`."""
        raise ValueError(
            "Invalid value for `learned_loss`. Expected None with keras_imaml.algorithms."
            "Supervised: nothing adapts in training, by which that loss could be learned. Use "
            "keras_imaml.IMAML or keras_imaml.MAML."
        )

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        theta = self.inner_problem(objective).start()
        query = query_gradient(objective, theta, objective.valid, variables)
        valid = query.valid
        per_task = select(valid, query.for_phi, tf.zeros_like(query.for_phi))
        for_theta = self.parameters.for_variables(tf.reduce_sum(per_task, axis=0), variables)
        return MetaGradient(
            sums=list(map(add_gradients, query.direct, for_theta)),
            per_task=per_task,
            query_losses=query.losses,
            query_outputs=query.outputs,
            valid=valid,
            figures={"gradient_norm": norm(per_task)},
        )
