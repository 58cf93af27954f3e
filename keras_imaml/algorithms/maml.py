"""MAML: the meta-gradient through the path of the inner solver, and its first-order form."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml.algorithms.algorithm import Algorithm, MetaGradient, masked_mean
from keras_imaml.inner import GradientDescent, InnerSolution
from keras_imaml.objective import InnerProblem, TaskObjective
from keras_imaml.validation import check_number
from keras_imaml.vectors import finite, norm, select


@keras.saving.register_keras_serializable(package="keras_imaml")
class MAML(Algorithm):
    """Model-agnostic meta-learning: differentiate the query loss through the inner steps.

    The inner objective is the support loss; that the weights stay near theta is left to the small
    number of steps, or to a proximal term as in iMAML. Memory grows with the number of steps,
    unless `first_order=True`.

    Args:
        inner: The inner solver; its steps are differentiated. Defaults to
            `keras_imaml.inner.GradientDescent(steps=5, learning_rate=0.1)`.
        first_order: Whether to leave out the second derivatives (FOMAML): the meta-gradient is
            then the query gradient at the adapted weights. Defaults to `False`.
        proximal_strength: lambda of a term `lambda/2 ||phi - theta||^2` in the inner objective,
            0 or above. Defaults to `0.0`.

    Example:

    ```python
    ki.MAML(inner=ki.inner.GradientDescent(steps=5, learning_rate=0.4))
    ki.MAML(first_order=True)
    ```

    References:
        Finn, Abbeel, Levine, 2017; Nichol, Achiam, Schulman, 2018 (first order).
    """

    diagnostics = ("inner_residual", "inner_steps")

    def __init__(
        self,
        inner: GradientDescent | None = None,
        first_order: bool = False,
        proximal_strength: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inner = inner or GradientDescent(steps=5, learning_rate=0.1)
        if not isinstance(self.inner, GradientDescent):
            raise ValueError(
                "Invalid value for `inner`. Expected a solver whose steps can be differentiated, "
                "which is keras_imaml.inner.GradientDescent; keras_imaml.IMAML takes any. "
                f"Received: inner={inner!r}"
            )
        self.first_order = bool(first_order)
        self.proximal_strength = check_number("proximal_strength", proximal_strength, minimum=0.0)

    def inner_problem(self, objective: TaskObjective) -> InnerProblem:
        """The inner objective at the current meta-parameters."""
        theta = self.parameters.theta()
        return InnerProblem(objective, theta, tf.constant(self.proximal_strength, theta.dtype))

    def adapt(self, objective: TaskObjective) -> InnerSolution:
        """See `Algorithm.adapt`: a task whose inner loop diverges stays at theta."""
        problem = self.inner_problem(objective)
        solution = self.inner.minimize(problem)
        return solution._replace(phi=select(solution.sound, solution.phi, problem.start()))

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        with tf.GradientTape(persistent=True) as tape:
            problem = self.inner_problem(objective)
            # One theta a task: what a bad task does to its own derivative stays with it.
            start = problem.start()
            tape.watch(start)
            adapted = self.inner.minimize(problem._replace(theta=start), start)
            phi = adapted.phi
            if self.first_order:
                phi = start + tf.stop_gradient(phi - start)
            losses, outputs = objective.query_losses(phi)
        per_task = tape.gradient(losses, start)
        sound = objective.sound & adapted.sound & tf.math.is_finite(losses) & finite(per_task)
        per_task = select(sound, per_task, tf.zeros_like(per_task))
        weights = tf.cast(sound, losses.dtype)
        weights /= tf.maximum(tf.reduce_sum(weights), 1)
        shared = tape.gradient(losses, self.parameters.shared, output_gradients=weights)
        shared_by_id = {id(v): g for v, g in zip(self.parameters.shared, shared, strict=True)}
        for_theta = self.parameters.for_variables(
            tf.reduce_sum(weights[:, None] * per_task, axis=0), variables
        )
        gradients = [
            shared_by_id.get(id(variable), gradient)
            for variable, gradient in zip(variables, for_theta, strict=True)
        ]
        residual = tf.math.divide_no_nan(
            norm(problem.gradient(tf.stop_gradient(phi))), adapted.initial_gradient_norm
        )
        return MetaGradient(
            gradients=gradients,
            per_task=per_task,
            query_losses=losses,
            query_outputs=outputs,
            sound=sound,
            diagnostics={
                "inner_residual": masked_mean(residual, sound),
                "inner_steps": masked_mean(tf.cast(adapted.steps, residual.dtype), sound),
            },
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "inner": keras.saving.serialize_keras_object(self.inner),
            "first_order": self.first_order,
            "proximal_strength": self.proximal_strength,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MAML":
        """The inverse of `get_config`."""
        inner = keras.saving.deserialize_keras_object(config["inner"])
        return cls(**{**config, "inner": inner})
