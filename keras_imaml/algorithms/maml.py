"""MAML: the meta-gradient through the path of the inner solver, and its first-order form."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.validation import check_number
from keras_imaml._utils.vectors import finite, select
from keras_imaml.algorithms import unrolling
from keras_imaml.algorithms.algorithm import Algorithm, MetaGradient, add_gradients
from keras_imaml.algorithms.query_gradient import query_gradient
from keras_imaml.inner import GradientDescent
from keras_imaml.inner.descent import DescentSolver
from keras_imaml.inner.divergence import checked
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective


@keras.saving.register_keras_serializable(package="keras_imaml")
class MAML(Algorithm):
    """Model-agnostic meta-learning: differentiate the query loss through the inner steps.

    The inner objective is the support loss; that the weights stay near theta is left to the small
    number of steps, or to a proximal term as in iMAML. Memory grows with the number of steps,
    unless `first_order=True`.

    Args:
        inner: The inner solver; its steps are differentiated. `keras_imaml.inner.GradientDescent`,
            with or without momentum, or `keras_imaml.inner.Adam`. Defaults to
            `keras_imaml.inner.GradientDescent(steps=5, learning_rate=0.1)`.
        first_order: Whether to leave out the second derivatives (FOMAML): the meta-gradient is
            then the query gradient at the adapted weights. Defaults to `False`.
        proximal_strength: lambda of a term `lambda/2 ||phi - theta||^2` in the inner objective,
            0 or above. Defaults to `0.0`.
        recompute: Whether to compute an inner step a second time on the way back instead of
            keeping its activations. Memory then grows by one `phi` a step, for about a third more
            time. Defaults to `False`.

    Example:

    ```python
    ki.MAML(inner=ki.inner.GradientDescent(steps=5, learning_rate=0.4))
    ki.MAML(inner=ki.inner.Adam(steps=5, learning_rate=0.05))
    ki.MAML(first_order=True)
    ki.MAML(inner=ki.inner.GradientDescent(5, ki.LearningRate(0.1, per="weight")))  # Meta-SGD
    ```

    References:
        Finn, Abbeel, Levine, 2017; Nichol, Achiam, Schulman, 2018 (first order); Li et al., 2017
        (Meta-SGD); Chen et al., 2016 (recomputation).
    """

    diagnostics = ("inner_residual", "inner_steps")
    inner: DescentSolver

    def __init__(
        self,
        inner: DescentSolver | None = None,
        first_order: bool = False,
        proximal_strength: float = 0.0,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inner = inner or GradientDescent(steps=5, learning_rate=0.1)
        if isinstance(self.inner, type) or not hasattr(self.inner, "rule"):
            raise ValueError(
                "Invalid value for `inner`. Expected a solver whose steps can be differentiated, "
                "which is keras_imaml.inner.GradientDescent or keras_imaml.inner.Adam; "
                f"keras_imaml.IMAML takes any. Received: inner={inner!r}"
            )
        self.first_order = bool(first_order)
        self.proximal_strength = check_number("proximal_strength", proximal_strength, minimum=0.0)
        self.recompute = bool(recompute)
        if self.recompute and self.inner.tolerance:
            raise ValueError(
                "Invalid value for `inner`. Expected one with tolerance=0.0 with recompute=True, "
                f"which takes all steps. Received: inner={inner!r}"
            )
        self._check_inner(proximal=self.proximal_strength > 0, learns_rate=not self.first_order)
        self._check_stable(self.proximal_strength)

    @property
    def differentiates_twice(self) -> bool:
        """See `Algorithm.differentiates_twice`."""
        return not self.first_order

    def strength(self) -> tf.Tensor:
        """See `Algorithm.strength`."""
        return tf.constant(self.proximal_strength, self.parameters.dtype)

    def check_learned_loss(self) -> None:
        """See `Algorithm.check_learned_loss`."""
        if self.first_order:
            raise ValueError(
                "Invalid value for `learned_loss`. Expected None with first_order=True, which "
                "leaves out how the adapted weights depend on the loss they adapt by. Use "
                "keras_imaml.MAML() or keras_imaml.IMAML()."
            )

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        meta = self._along_path(objective, variables)
        adapted = {id(variable) for variable in self.parameters.adapted}
        if all(id(variable) in adapted for variable in variables):
            return meta

        # Shared weights are differentiated for all tasks at once, so that NaN of one task spreads
        # to all. Compute the gradients again without the invalid tasks if that has happened.
        def without_invalid_tasks() -> list[tf.Tensor]:
            clean = objective.without(~meta.valid)
            # Trunk outputs are told apart by identity, and clearing makes new ones.
            pairs = zip(objective.trunk_outputs, clean.trunk_outputs, strict=True)
            cleared = {id(old): new for old, new in pairs}
            recomputed = self._along_path(clean, [cleared.get(id(v), v) for v in variables])
            return _tensors(recomputed._replace(valid=meta.valid))

        has_spread = ~tf.reduce_all(meta.valid) & ~tf.reduce_all(
            tf.stack([tf.reduce_all(tf.math.is_finite(g)) for g in _gradients(meta)])
        )
        tensors = tf.cond(has_spread, without_invalid_tasks, lambda: _tensors(meta))
        return _like(meta, tensors)

    def _along_path(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        def problem(theta: tf.Tensor) -> InnerProblem:
            return InnerProblem(objective, theta, self.strength())

        differentiated = unrolling.recomputed if self.recompute else unrolling.taped
        unroll = unrolling.first_order if self.first_order else differentiated
        start = self.inner_problem(objective).start()
        path = unroll(problem, start, self.inner)
        solution = checked(problem(start), path.solution)
        phi = solution.phi
        query = query_gradient(objective, phi, objective.valid & solution.valid, variables)
        adapted = {id(variable) for variable in self.parameters.adapted}
        not_adapted = [variable for variable in variables if id(variable) not in adapted]
        per_task, through_path = path.pull_back(
            select(query.valid, query.for_phi, tf.zeros_like(phi)), not_adapted
        )
        valid = query.valid & finite(per_task)
        per_task = select(valid, per_task, tf.zeros_like(per_task))
        for_theta = self.parameters.for_variables(tf.reduce_sum(per_task, axis=0), variables)
        path_gradients = iter(through_path)
        sums = [
            add_gradients(direct, next(path_gradients) if through is None else through)
            for direct, through in zip(query.direct, for_theta, strict=True)
        ]
        # The residual before the last step: another gradient would cost as much as a step.
        residual = tf.math.divide_no_nan(solution.gradient_norm, solution.initial_gradient_norm)
        return MetaGradient(
            sums=sums,
            per_task=per_task,
            query_losses=query.losses,
            query_outputs=query.outputs,
            valid=valid,
            figures={
                "inner_residual": residual,
                "inner_steps": tf.cast(solution.steps, residual.dtype),
            },
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "first_order": self.first_order,
            "proximal_strength": self.proximal_strength,
            "recompute": self.recompute,
        }


def _gradients(meta: MetaGradient) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(g) for g in meta.sums if g is not None]


def _tensors(meta: MetaGradient) -> list[tf.Tensor]:
    """All tensors of a meta-gradient as a flat list."""
    return [*_gradients(meta), *tf.nest.flatten(meta._replace(sums=[]))]


def _like(meta: MetaGradient, tensors: Sequence[tf.Tensor]) -> MetaGradient:
    """The inverse of `_tensors`, with None where `meta` has None."""
    remaining = iter(tensors)
    sums = [None if g is None else next(remaining) for g in meta.sums]
    packed = tf.nest.pack_sequence_as(meta._replace(sums=[]), list(remaining))
    return packed._replace(sums=sums)
