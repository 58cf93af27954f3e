"""What the code that was released with the iMAML paper computes, for comparisons."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.validation import check_number
from keras_imaml._utils.vectors import select
from keras_imaml.algorithms.algorithm import MetaGradient
from keras_imaml.algorithms.imaml import IMAML
from keras_imaml.curvature import Linearization
from keras_imaml.inner import GradientDescent, InnerSolution
from keras_imaml.inner.divergence import checked
from keras_imaml.linear import LinearSolver
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.meta_parameters.proximal_strength import ProximalStrength
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective

_ADDED = 10.0  # to lambda, in the linear system


@keras.saving.register_keras_serializable(package="keras_imaml")
class ReleasedIMAML(IMAML):
    """The meta-gradient of the published implementation, which is not that of the paper.

    It differs from `keras_imaml.IMAML` in three places:

    * The inner steps are on the support loss alone. One step on the proximal term follows, while
      training: `phi <- phi - rate lambda (phi - theta)`. There is none at test time.
    * The linear system is `(1 + damping) I + H / (lambda + 10)` in the place of `I + H / lambda`.
      With the published settings the meta-gradient is `1/2 (I + H/24)^-1` times the query
      gradient, near that of first-order MAML.
    * The curvature is the exact Hessian at a point that is no minimum.

    Args:
        proximal_strength: lambda, a number above 0. Defaults to `2.0`.
        inner: A `keras_imaml.inner.GradientDescent` with a number as step size. Defaults to 16
            steps of 0.1.
        linear: The linear solver. Defaults to 5 steps of conjugate gradient.
        damping: Added to the identity of the linear system. Defaults to `1.0`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.Conv4(5), ki.algorithms.ReleasedIMAML(), transductive=True)
    learner.compile(
        keras.optimizers.Adam(1e-3, epsilon=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    ```

    References:
        Rajeswaran et al., 2019: the code published with it (omniglot_implicit_maml.py,
        learner_model.py).
    """

    def __init__(
        self,
        proximal_strength: float | ProximalStrength = 2.0,
        inner: GradientDescent | None = None,
        linear: LinearSolver | None = None,
        damping: float = 1.0,
        **kwargs: Any,
    ) -> None:
        inner = inner or GradientDescent(steps=16, learning_rate=0.1)
        is_plain_descent = isinstance(inner, GradientDescent) and not inner.momentum
        if not is_plain_descent or not isinstance(inner.learning_rate, float | int):
            raise ValueError(
                "Invalid value for `inner`. Expected a keras_imaml.inner.GradientDescent without "
                f"momentum and with a number as learning_rate. Received: inner={inner!r}"
            )
        super().__init__(proximal_strength, inner, linear, curvature="hessian", **kwargs)
        strength = self.proximal_strength
        if strength.per != "model" or strength.learned:
            raise ValueError(
                "Invalid value for `proximal_strength`. Expected one number that is not learned. "
                f"Received: proximal_strength={strength!r}"
            )
        self.damping = check_number("damping", damping, minimum=0.0)
        self.pull_back_rate = float(inner.learning_rate)

    def prepare(self, parameters: Parameters) -> None:
        """See `Algorithm.prepare`: all weights adapt, as in the published code."""
        if parameters.shared:
            raise ValueError(
                "Invalid value for `adapt`. Expected None with keras_imaml.algorithms."
                "ReleasedIMAML: the published code adapts all weights. Received: an `adapt` that "
                f"leaves out {[v.path for v in parameters.shared]}"
            )
        super().prepare(parameters)

    def strength(self) -> tf.Tensor:
        """`(1 + damping) (lambda + 10)`, which stands beside a Hessian with the factor one."""
        return (1 + self.damping) * (super().strength() + _ADDED)

    def adapt(self, objective: TaskObjective) -> InnerSolution:
        """Steps on the support loss, and while training one back towards theta."""
        theta = self.parameters.theta()
        problem = InnerProblem(objective, theta, tf.zeros([], theta.dtype))
        solution = checked(problem, self.inner.minimize(problem))
        phi = solution.phi
        if objective.training:
            phi -= self.pull_back_rate * super().strength() * (phi - theta)
        return solution._replace(phi=select(solution.valid, phi, problem.start()))

    def ends_low(self, adapted: InnerSolution, linearization: Linearization) -> tf.Tensor:
        """See `IMAML.ends_low`: what is linearized is not what the steps lower."""
        return adapted.valid

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        meta = super().meta_gradient(objective, variables)
        scale = 1 / (1 + self.damping)
        sums = [None if g is None else scale * tf.convert_to_tensor(g) for g in meta.sums]
        assert meta.per_task is not None
        return meta._replace(sums=sums, per_task=scale * meta.per_task)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = {**super().get_config(), "damping": self.damping}
        config.pop("curvature")
        return config
