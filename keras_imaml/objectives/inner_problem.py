"""The inner problem of each task: the support loss and the proximal term (equation 3)."""

from typing import NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import dot
from keras_imaml.objectives.task_objective import TaskObjective


class InnerProblem(NamedTuple):
    """The inner objective `G(phi) = Lhat(phi) + lambda/2 ||phi - theta||^2`, task by task.

    (Rajeswaran et al., 2019, equation 3.)

    Attributes:
        objective: The losses of the meta-batch.
        theta: `[size]`, the meta-learned weights.
        strength: lambda, a scalar or `[size]`.
    """

    objective: TaskObjective
    theta: tf.Tensor
    strength: tf.Tensor

    @property
    def steps(self) -> tf.Tensor | None:
        """`[tasks]`, int32: how many steps each task takes; None: as many as the solver says."""
        steps = self.objective.tasks.steps
        return steps if tf.is_tensor(steps) else None

    def start(self) -> tf.Tensor:
        """Every task starts at theta: `[tasks, size]`."""
        return self.objective.parameters.broadcast(self.theta, self.objective.tasks.count)

    def watch(self, tape: tf.GradientTape) -> None:
        """See `TaskObjective.watch`."""
        self.objective.watch(tape)

    def value(self, phi: tf.Tensor) -> tf.Tensor:
        """`G_t(phi_t)`, `[tasks]`."""
        return self.with_proximal_term(self.objective.support_losses(phi), phi)

    def gradient(self, phi: tf.Tensor) -> tf.Tensor:
        """`grad G_t(phi_t)`, `[tasks, size]`."""
        return self.support_and_gradient(phi)[1]

    def support_and_gradient(self, phi: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`Lhat_t(phi_t)`, `[tasks]`, and `grad G_t(phi_t)`, from one pass of the network."""
        with tf.GradientTape() as tape:
            tape.watch(phi)
            support = self.objective.support_losses(phi)
        # Loops over tasks need the shape that vectorization over unknown examples forgets.
        gradient = tf.ensure_shape(tape.gradient(support, phi), phi.shape)
        return tf.stop_gradient(support), gradient + self.proximal_gradient(phi)

    def with_proximal_term(self, support: tf.Tensor, phi: tf.Tensor) -> tf.Tensor:
        """`G_t(phi_t)` from `Lhat_t(phi_t)`, `[tasks]`."""
        displacement = phi - self.theta
        support = tf.ensure_shape(support, phi.shape[:1])
        return support + 0.5 * dot(self.strength * displacement, displacement)

    def proximal_gradient(self, phi: tf.Tensor) -> tf.Tensor:
        """`lambda (phi_t - theta)`, `[tasks, size]`."""
        return self.strength * (phi - self.theta)
