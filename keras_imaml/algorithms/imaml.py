"""Implicit MAML: the meta-gradient from the inner solution alone, whatever path led to it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.keras_losses import CROSS_ENTROPIES, loss_name, takes_logits
from keras_imaml._utils.validation import check_choice
from keras_imaml._utils.vectors import dot, norm
from keras_imaml.algorithms.algorithm import (
    Algorithm,
    MetaGradient,
    add_gradients,
)
from keras_imaml.algorithms.implicit_gradient import ImplicitGradient, implicit_gradient
from keras_imaml.algorithms.query_gradient import query_gradient
from keras_imaml.curvature import CURVATURES, Linearization
from keras_imaml.inner import GradientDescent, InnerSolution, InnerSolver
from keras_imaml.inner.divergence import MINIMIZER_RISE, highest_value
from keras_imaml.linear import ConjugateGradient, LinearSolver, Status
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.meta_parameters.proximal_strength import ProximalStrength
from keras_imaml.objectives.task_objective import TaskObjective

# Keras losses by their names, as far as Gauss-Newton cannot work with them.
_FLAT = {
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "hinge",
    "categorical_hinge",
}
_NOT_CONVEX = {
    "cosine_similarity",
    "dice",
    "tversky",
    "circle_loss",
    "circle",
    "categorical_focal_crossentropy",
    "binary_focal_crossentropy",
    "mean_squared_logarithmic_error",
}


@keras.saving.register_keras_serializable(package="keras_imaml")
class IMAML(Algorithm):
    """Meta-learning with implicit gradients.

    Inner level: `phi_t = argmin Lhat_t(phi) + lambda/2 ||phi - theta||^2`, by any solver.
    Outer level: the gradient of the query loss, `(I + H_t/lambda)^-1 grad L_t(phi_t)`, by
    conjugate gradient on products with the curvature. Memory does not grow with the inner steps.

    Args:
        proximal_strength: lambda, a number above 0 or a `keras_imaml.ProximalStrength` (one per
            layer, one per weight, learned). Defaults to `0.5`.
        inner: The inner solver. Defaults to `keras_imaml.inner.GradientDescent()`.
        linear: The linear solver. Defaults to `keras_imaml.linear.ConjugateGradient()`.
        curvature: `"hessian"`: exact, may be indefinite; `"gauss_newton"`: never indefinite for
            convex losses, and the better choice for training. Defaults to `"gauss_newton"`.

    Example:

    ```python
    algorithm = ki.IMAML(
        proximal_strength=0.5,
        inner=ki.inner.GradientDescent(steps=16, learning_rate=0.2),
        linear=ki.linear.ConjugateGradient(max_steps=5),
    )
    ```

    References:
        Rajeswaran, Finn, Kakade, Levine: Meta-Learning with Implicit Gradients, NeurIPS 2019.
    """

    diagnostics = (
        "inner_residual",
        "inner_steps",
        "linear_residual",
        "linear_steps",
        "negative_curvature",
        "first_order_cosine",
        "proximal_strength",
    )

    evaluates_end = True

    def __init__(
        self,
        proximal_strength: float | ProximalStrength = 0.5,
        inner: InnerSolver | None = None,
        linear: LinearSolver | None = None,
        curvature: str = "gauss_newton",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(proximal_strength, ProximalStrength):
            proximal_strength = ProximalStrength(proximal_strength)
        self.proximal_strength = proximal_strength
        self.inner = inner or GradientDescent()
        self._check_inner(proximal=True, learns_rate=False)
        self._check_stable(proximal_strength.initial)
        self.linear = linear or ConjugateGradient()
        if isinstance(self.linear, type) or not hasattr(self.linear, "solve"):
            raise ValueError(
                "Invalid value for `linear`. Expected a linear solver such as keras_imaml.linear."
                f"ConjugateGradient(). Received: linear={linear!r}"
            )
        self.curvature = check_choice("curvature", curvature, CURVATURES)

    @property
    def differentiates_twice(self) -> bool:
        """See `Algorithm.differentiates_twice`."""
        return True

    def check_loss(self, loss: Any) -> None:
        """See `Algorithm.check_loss`: Gauss-Newton needs a loss that is convex in the outputs."""
        super().check_loss(loss)
        if self.curvature != "gauss_newton":
            return
        for part in keras.tree.flatten(loss):
            name = loss_name(part)
            if name in _FLAT:
                raise ValueError(
                    f"Invalid value for `loss`. {part!r} has no second derivative for the outputs, "
                    "so that its Gauss-Newton curvature is zero and no linear solver has anything "
                    "to solve. Expected a loss with one, such as 'mse' or 'huber', or "
                    "keras_imaml.IMAML(curvature='hessian'). Received: "
                    f"loss={part!r}, linear={self.linear!r}"
                )
            of_probabilities = name in CROSS_ENTROPIES and not takes_logits(part)
            if name in _NOT_CONVEX or of_probabilities:
                why = "the cross-entropy of probabilities" if of_probabilities else repr(part)
                raise ValueError(
                    "Invalid value for `loss`. Expected one that is convex in the outputs with "
                    f"curvature='gauss_newton'; {why} is not convex. End the network without "
                    "softmax and pass keras.losses.SparseCategoricalCrossentropy("
                    f"from_logits=True), or use curvature='hessian'. Received: loss={part!r}"
                )

    def prepare(self, parameters: Parameters) -> None:
        """See `Algorithm.prepare`."""
        self.proximal_strength.prepare(parameters)
        super().prepare(parameters)

    def strength(self) -> tf.Tensor:
        """See `Algorithm.strength`."""
        return self.proximal_strength.value()

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        adapted = self.adapt(objective)
        phi = tf.stop_gradient(adapted.phi)
        linearization = CURVATURES[self.curvature]().linearize(
            lambda: self.inner_problem(objective), phi, variables
        )
        valid = objective.valid & adapted.valid & self.ends_low(adapted, linearization)
        query = query_gradient(objective, phi, valid, variables)
        implicit = implicit_gradient(linearization, query.for_phi, query.valid, self.linear)
        return MetaGradient(
            sums=list(map(add_gradients, query.direct, implicit.sums)),
            per_task=implicit.per_task,
            query_losses=query.losses,
            query_outputs=query.outputs,
            valid=implicit.valid,
            figures=self._figures(adapted, implicit, query.for_phi),
        )

    def ends_low(self, adapted: InnerSolution, linearization: Linearization) -> tf.Tensor:
        """Which inner solutions are not above theta: the implicit rule assumes minimizers.

        The value comes from the linearization, because first-order solvers do not evaluate the
        inner objective at phi.
        """
        assert adapted.initial_value is not None
        return linearization.value <= highest_value(adapted.initial_value, MINIMIZER_RISE)

    def _figures(
        self, adapted: InnerSolution, implicit: ImplicitGradient, query_gradient: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        linear = implicit.solution
        inner_residual = tf.math.divide_no_nan(
            implicit.inner_residual, adapted.initial_gradient_norm
        )
        cosine = tf.math.divide_no_nan(
            dot(implicit.per_task, query_gradient),
            norm(implicit.per_task) * norm(query_gradient),
        )
        strength = self.proximal_strength.value()
        negative = tf.equal(linear.status, int(Status.NEGATIVE_CURVATURE))
        return {
            "inner_residual": inner_residual,
            "inner_steps": tf.cast(adapted.steps, cosine.dtype),
            "linear_residual": linear.residual,
            "linear_steps": tf.cast(linear.steps, cosine.dtype),
            "negative_curvature": tf.cast(negative, cosine.dtype),
            "first_order_cosine": cosine,
            "proximal_strength": tf.ones_like(cosine) * tf.reduce_mean(strength),
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "proximal_strength": keras.saving.serialize_keras_object(self.proximal_strength),
            "linear": keras.saving.serialize_keras_object(self.linear),
            "curvature": self.curvature,
        }
