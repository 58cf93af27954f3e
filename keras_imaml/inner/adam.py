"""Adam on the inner objective, as a pure update without variables; all tasks in step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml.inner.clipping import check_clipping, clipping
from keras_imaml.inner.descent import Rule, descend
from keras_imaml.inner.solution import InnerSolution
from keras_imaml.meta_parameters.learning_rate import LearningRate
from keras_imaml.objectives.inner_problem import InnerProblem


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class Adam(Configurable):
    """Adam with bias correction; its moments start at zero in every task.

    Args:
        steps: Maximum number of iterations. `0` does not adapt. Defaults to `16`.
        learning_rate: Step size, in weights: a number or a `keras_imaml.LearningRate`. Defaults to
            `0.01`.
        beta_1: Decay of the mean gradient. Defaults to `0.9`.
        beta_2: Decay of the mean squared gradient. Defaults to `0.999`.
        epsilon: Added to the root of the mean square. Steps bend by up to one over it where
            gradients are near zero: a larger one, such as `1e-3`, steadies the meta-gradient of
            `keras_imaml.MAML`. Defaults to `1e-7`.
        tolerance: A task stops when `||grad G(phi)||` has fallen below this share of its value at
            theta. Defaults to `0.0`.
        clip_norm: The longest gradient of a task; longer ones are shortened to it. Defaults to
            `None`: any.
        clip_value: The largest entry of a gradient, up or down. Defaults to `None`: any.

    Example:

    ```python
    ki.IMAML(inner=ki.inner.Adam(steps=16, learning_rate=0.02))
    ```

    References:
        Kingma and Ba, 2015.
    """

    steps_per_task: ClassVar[bool] = True
    """Whether each task may have its own number of steps, see `InnerProblem.steps`."""

    steps: int = 16
    learning_rate: float | LearningRate = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    tolerance: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=0)
        if not isinstance(self.learning_rate, LearningRate):
            check_number("learning_rate", self.learning_rate, minimum=0.0, exclusive=True)
        for name in ("beta_1", "beta_2"):
            if check_number(name, getattr(self, name), minimum=0.0) >= 1:
                raise ValueError(
                    f"Invalid value for `{name}`. Expected a number of at least 0 and below 1. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        check_number("epsilon", self.epsilon, minimum=0.0, exclusive=True)
        check_number("tolerance", self.tolerance, minimum=0.0)
        check_clipping(self.clip_norm, self.clip_value)

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """See `InnerSolver.minimize`."""
        start = problem.start() if start is None else start
        return descend(problem, start, self.rule(problem), self.steps, self.tolerance)

    def rule(self, problem: InnerProblem) -> Rule:
        """The method, for `descend`."""
        rate: Any = self.learning_rate
        rate = rate.value() if isinstance(rate, LearningRate) else rate

        def update(
            step: tf.Tensor, gradient: tf.Tensor, mean: tf.Tensor, square: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            mean += (1 - self.beta_1) * (gradient - mean)
            square += (1 - self.beta_2) * (tf.square(gradient) - square)
            count = tf.cast(step + 1, gradient.dtype)
            unbiased = mean / (1 - self.beta_1**count)
            # The root of zero has no derivative. A gradient of zero adds a square that is flat,
            # so that the spread is flat there, too.
            some = square > 0
            root = tf.sqrt(tf.where(some, square, tf.ones_like(square)))
            spread = tf.where(some, root, tf.zeros_like(root)) / tf.sqrt(1 - self.beta_2**count)
            return -rate * unbiased / (spread + self.epsilon), mean, square

        start = problem.start()
        moments = (tf.zeros_like(start), tf.zeros_like(start))
        return Rule(update, moments, clip=clipping(self.clip_norm, self.clip_value))
