"""Gradient descent on the inner objective, plain or with Nesterov's momentum."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from keras_imaml.configurable import Configurable
from keras_imaml.inner.solution import InnerSolution
from keras_imaml.objective import InnerProblem
from keras_imaml.validation import check_integer, check_number
from keras_imaml.vectors import finite, norm, select


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class GradientDescent(Configurable):
    """`phi <- phi - learning_rate grad G(phi)`, all tasks in step.

    Memory does not depend on the number of steps: nothing of the path is kept.

    Args:
        steps: Iterations, at most. Defaults to `16` (the paper's number for 5-way Omniglot).
        learning_rate: Step size, in squared weights per unit of loss. It must stay below
            `2 / (largest curvature + lambda)`. Defaults to `0.1`.
        momentum: Share of the last step that is added to the next, at least 0 and below 1. For a
            condition number kappa of the inner problem the theory asks for
            `(sqrt(kappa) - 1) / (sqrt(kappa) + 1)`. Defaults to `0.0`.
        nesterov: Whether the gradient is taken ahead, where the momentum leads (Nesterov), rather
            than here (heavy ball). Defaults to `False`.
        tolerance: A task stops when `||grad G(phi)||` has fallen below this share of its value at
            theta. `0` runs all steps. Defaults to `0.0`.

    Example:

    ```python
    ki.IMAML(inner=ki.inner.GradientDescent(steps=8, momentum=0.9, nesterov=True))
    ```

    References:
        Rajeswaran et al., 2019, section 4; Nesterov, 2004, section 2.2.
    """

    steps: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=1)
        check_number("learning_rate", self.learning_rate, minimum=0.0, exclusive=True)
        check_number("tolerance", self.tolerance, minimum=0.0)
        if check_number("momentum", self.momentum, minimum=0.0) >= 1:
            raise ValueError(
                "Invalid value for `momentum`. Expected a number of at least 0 and below 1. "
                f"Received: momentum={self.momentum!r}"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "Invalid value for `momentum`. Expected a number above 0 with nesterov=True. "
                f"Received: momentum={self.momentum!r}"
            )

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """See `InnerSolver.minimize`."""
        start = problem.start() if start is None else start
        tasks = tf.shape(start)[:1]

        def body(
            step: tf.Tensor,
            phi: tf.Tensor,
            velocity: tf.Tensor,
            active: tf.Tensor,
            steps: tf.Tensor,
            first: tf.Tensor,
        ) -> tuple[tf.Tensor, ...]:
            ahead = phi + self.momentum * velocity if self.nesterov else phi
            gradient = problem.gradient(ahead)
            first = tf.cond(tf.equal(step, 0), lambda: norm(gradient), lambda: first)
            change = -self.learning_rate * gradient
            if self.momentum:
                change += self.momentum * velocity
            if self.tolerance:
                active = norm(gradient) > self.tolerance * first
                change = select(active, change, tf.zeros_like(change))
            steps += tf.cast(active, tf.int32)
            velocity = change if self.momentum else velocity
            return step + 1, phi + change, velocity, active, steps, first

        # Without momentum the velocity is not needed: an empty tensor takes its place.
        velocity = tf.zeros_like(start) if self.momentum else tf.zeros([0], start.dtype)
        _, phi, _, _, steps, first = tf.while_loop(
            lambda step, phi, velocity, active, steps, first: tf.reduce_any(active),
            body,
            (
                tf.constant(0),
                start,
                velocity,
                tf.ones(tasks, tf.bool),
                tf.zeros(tasks, tf.int32),
                tf.zeros(tasks, start.dtype),
            ),
            maximum_iterations=self.steps,
            parallel_iterations=1,
        )
        return InnerSolution(phi, steps, steps, first, finite(phi))
