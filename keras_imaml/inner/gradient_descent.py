"""Gradient descent on the inner objective, plain or with Nesterov's momentum."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.validation import check_choice, check_integer, check_number
from keras_imaml.inner.adaptive_step import adaptive_rule
from keras_imaml.inner.clipping import check_clipping, clipping
from keras_imaml.inner.descent import Rule, descend
from keras_imaml.inner.solution import InnerSolution
from keras_imaml.meta_parameters.learning_rate import LearningRate
from keras_imaml.objectives.inner_problem import InnerProblem

STRONGLY_CONVEX = "strongly_convex"
AUTO = "auto"


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class GradientDescent(Configurable):
    """`phi <- phi - learning_rate grad G(phi)`, all tasks in step.

    Memory does not depend on the number of steps, because the path is not stored.

    Args:
        steps: Maximum number of iterations. `0` does not adapt. Defaults to `16`, as in the paper
            for 5-way Omniglot.
        learning_rate: `"auto"` measures the curvature along the path and follows it, for each
            task and in every step, at no extra evaluation. A number is a step size in squared
            weights per unit of loss; it must stay below `2 / (largest curvature + lambda)`. A
            `keras_imaml.LearningRate` holds one per layer or weight. Defaults to `"auto"`.
        momentum: Share of the last step that is added to the next, at least 0 and below 1.
            `"strongly_convex"` sets the optimal `(sqrt(kappa) - 1) / (sqrt(kappa) + 1)` for the
            condition number `kappa = 1 / (learning_rate lambda)`. It assumes a convex support
            loss and a learning rate of one over the largest curvature. Needs a `learning_rate`
            that is a number. Defaults to `0.0`.
        nesterov: Whether to evaluate the gradient at the look-ahead point (Nesterov) instead of
            the current one (heavy ball). Defaults to `False`.
        tolerance: A task stops when `||grad G(phi)||` has fallen below this share of its value at
            theta. `0` runs all steps. Defaults to `0.0`.
        clip_norm: The longest gradient of a task; longer ones are shortened to it. Needs a
            `learning_rate` other than `"auto"`. Defaults to `None`: any.
        clip_value: The largest entry of a gradient, up or down. As above. Defaults to `None`.

    Example:

    ```python
    ki.IMAML(inner=ki.inner.GradientDescent(steps=16))
    ki.IMAML(inner=ki.inner.GradientDescent(16, 0.1, momentum=0.9, nesterov=True))
    ki.MAML(inner=ki.inner.GradientDescent(5, 0.1, clip_norm=10.0))
    ```

    References:
        Rajeswaran et al., 2019, section 4; Nesterov, 2004, section 2.2; for `"auto"` Malitsky and
        Mishchenko, 2024, algorithm 1.
    """

    steps_per_task: ClassVar[bool] = True
    """Whether each task may have its own number of steps, see `InnerProblem.steps`."""

    steps: int = 16
    learning_rate: float | str | LearningRate = AUTO
    momentum: float | str = 0.0
    nesterov: bool = False
    tolerance: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=0)
        check_clipping(self.clip_norm, self.clip_value)
        if isinstance(self.learning_rate, str):
            if self.learning_rate != AUTO:
                raise ValueError(
                    "Invalid value for `learning_rate`. Expected a number above 0, 'auto', or a "
                    f"keras_imaml.LearningRate. Received: learning_rate={self.learning_rate!r}"
                )
            if self.momentum:
                raise ValueError(
                    "Invalid value for `momentum`. Expected 0.0 with learning_rate='auto', which "
                    "is safe for plain steps alone. Give a number, such as learning_rate=0.1, to "
                    f"use momentum. Received: momentum={self.momentum!r}"
                )
            for name in ("clip_norm", "clip_value"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"Invalid value for `{name}`. Expected None with learning_rate='auto', "
                        "which measures the curvature by gradients as they are, and shortens its "
                        "steps where they are long. Give a number, such as learning_rate=0.1, to "
                        f"clip. Received: {name}={getattr(self, name)!r}"
                    )
        elif not isinstance(self.learning_rate, LearningRate):
            check_number("learning_rate", self.learning_rate, minimum=0.0, exclusive=True)
        check_number("tolerance", self.tolerance, minimum=0.0)
        if isinstance(self.momentum, str):
            check_choice("momentum", self.momentum, (STRONGLY_CONVEX,))
        elif check_number("momentum", self.momentum, minimum=0.0) >= 1:
            raise ValueError(
                "Invalid value for `momentum`. Expected a number of at least 0 and below 1, or "
                f"{STRONGLY_CONVEX!r}. Received: momentum={self.momentum!r}"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "Invalid value for `momentum`. Expected a number above 0 with nesterov=True. "
                f"Received: momentum={self.momentum!r}"
            )

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """See `InnerSolver.minimize`."""
        start = problem.start() if start is None else start
        return descend(problem, start, self.rule(problem), self.steps, self.tolerance)

    def rule(self, problem: InnerProblem) -> Rule:
        """The method, for `descend`."""
        if self.learning_rate == AUTO:
            return adaptive_rule(problem)
        rate = self._rate(problem.theta.dtype)
        clip = clipping(self.clip_norm, self.clip_value)
        if not self.momentum:
            return Rule(lambda step, gradient: (-rate * gradient,), clip=clip)
        momentum = self._momentum(rate, problem.strength)

        def update(step: tf.Tensor, gradient: tf.Tensor, velocity: tf.Tensor) -> tuple:
            change = momentum * velocity - rate * gradient
            return change, change

        begin = (tf.zeros_like(problem.start()),)
        if not self.nesterov:
            return Rule(update, begin, clip=clip)
        return Rule(update, begin, lambda phi, velocity: phi + momentum * velocity, clip)

    def _rate(self, dtype: tf.DType) -> tf.Tensor:
        if isinstance(self.learning_rate, LearningRate):
            return self.learning_rate.value()
        return tf.constant(self.learning_rate, dtype)

    def check_stable(self, strength: float) -> None:
        """Refuse a step size that diverges whatever the loss is.

        Args:
            strength: lambda. The curvature of the inner objective of a convex loss is at least
                that, and steps of `2 / lambda` overshoot the minimum by as much as they start
                from it.

        Raises:
            ValueError: If `learning_rate` is a number and at or above the largest stable one.
        """
        if isinstance(self.learning_rate, str | LearningRate) or isinstance(self.momentum, str):
            return
        share = self.momentum
        limit = 2 * (1 + share) / ((1 + 2 * share) if self.nesterov else 1)
        if self.learning_rate * strength >= limit:
            raise ValueError(
                "Invalid value for `learning_rate`. Expected 'auto', or a number below "
                f"{limit / strength:.4g}: with lambda = {strength:g} the steps of a longer one "
                f"grow, whatever the loss. Received: learning_rate={self.learning_rate!r}"
            )

    def _momentum(self, rate: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
        if isinstance(self.momentum, float | int):
            return tf.constant(self.momentum, rate.dtype)
        # The step 1/L and the strong convexity lambda give the condition number L / lambda.
        root = tf.sqrt(tf.minimum(tf.reduce_min(rate) * tf.reduce_min(strength), 1))
        return (1 - root) / (1 + root)
