"""The Gauss-Newton curvature of the inner objective: never indefinite."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.configurable import ShownAsCall
from keras_imaml.curvature.linearization import Linearization
from keras_imaml.linear.operators import GaussNewtonProduct
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective

_ZERO = tf.UnconnectedGradients.ZERO


class GaussNewton(ShownAsCall):
    """Products with `A = J' S J + lambda I`.

    J is the Jacobian of the network's outputs on the support set, S the Hessian of the loss with
    respect to the outputs. For a loss that is convex in the outputs (cross-entropy of logits,
    squared error) A is positive definite for any network. It leaves out the curvature of the
    network itself, which vanishes with the support loss.

    The product `J v` is the derivative of `u -> J' u`, which is linear in u. Reverse mode gives
    it, so that all products reuse one forward and one backward pass.

    References:
        Schraudolph, 2002; Martens, 2010.
    """

    def linearize(
        self, problem: Callable[[], InnerProblem], phi: tf.Tensor, variables: Sequence[Any]
    ) -> Linearization:
        """See `Curvature.linearize`."""
        with tf.GradientTape(persistent=True) as meta_tape:  # watches the meta-parameters
            inner_problem = problem()
            inner_problem.watch(meta_tape)
            jacobian, penalty = _evaluated(inner_problem.objective, phi)
            loss = _LossHessian(inner_problem.objective, jacobian.all_outputs)
            gradient = jacobian.pulled_back(loss.slope) + inner_problem.proximal_gradient(phi)
            if penalty:
                gradient += penalty.gradient
        return Linearization(
            problem=inner_problem,
            value=inner_problem.with_proximal_term(loss.losses + jacobian.penalty, phi),
            gradient=gradient,
            product=GaussNewtonProduct(
                push_forward=jacobian.push_forward,
                loss_hessian=loss.product,
                pull_back=jacobian.pull_back,
                strength=inner_problem.strength,
                penalty=penalty and penalty.product,
            ),
            mixed=lambda w: meta_tape.gradient(gradient, list(variables), output_gradients=w),
        )


class _Jacobian:
    """Products with J and J', from one forward and one backward pass.

    Args:
        objective: The losses of the meta-batch.
        phi: `[tasks, size]`, where to differentiate.
    """

    def __init__(self, objective: TaskObjective, phi: tf.Tensor) -> None:
        self._phi = phi
        with tf.GradientTape(persistent=True) as self._tape:
            self._tape.watch(phi)
            self.all_outputs, self.penalty = objective.support(phi)
            self.outputs = differentiable(self.all_outputs)

    def pulled_back(self, slope: Any) -> tf.Tensor:
        """`J' slope`. J' u is linear in u: this pass also gives all products with J."""
        with tf.GradientTape(persistent=True) as self._transpose_tape:
            self._seed = tf.nest.map_structure(tf.identity, slope)
            self._transpose_tape.watch(self._seed)
            image = self._tape.gradient(self.outputs, self._phi, output_gradients=self._seed)
            self._image = tf.ensure_shape(image, self._phi.shape)
        return self._image

    def push_forward(self, v: tf.Tensor) -> tf.Tensor:
        """`J v`, after `pulled_back`: the derivative of `u -> J' u`, the same at every u."""
        image = self._transpose_tape.gradient(
            self._image, self._seed, output_gradients=v, unconnected_gradients=_ZERO
        )
        return _flat(image)

    def pull_back(self, u: tf.Tensor) -> tf.Tensor:
        """`J' u`."""
        u = _like(u, self.outputs)
        pulled = self._tape.gradient(self.outputs, self._phi, output_gradients=u)
        return tf.ensure_shape(pulled, self._phi.shape)

    def penalty_gradient(self) -> tf.Tensor:
        """The gradient of the model's own penalties."""
        return self._tape.gradient(self.penalty, self._phi, unconnected_gradients=_ZERO)


class _Penalty(NamedTuple):
    """The gradient of the model's own penalties, and products with their full Hessian."""

    gradient: tf.Tensor
    product: Callable[[tf.Tensor], tf.Tensor]


def _evaluated(objective: TaskObjective, phi: tf.Tensor) -> tuple[_Jacobian, _Penalty | None]:
    """The forward pass of the support sets, under a second tape if the model has penalties."""
    if not objective.inner.network.penalized:
        return _Jacobian(objective, phi), None
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(phi)
        jacobian = _Jacobian(objective, phi)
        gradient = jacobian.penalty_gradient()

    def product(v: tf.Tensor) -> tf.Tensor:
        image = tape.gradient(gradient, phi, output_gradients=v)
        return tf.zeros_like(v) if image is None else image

    return jacobian, _Penalty(gradient, product)


class _LossHessian:
    """The support losses, their slope for the outputs, and products with their Hessian S.

    Args:
        objective: The losses of the meta-batch.
        outputs: Of the network, on the support sets.
    """

    def __init__(self, objective: TaskObjective, outputs: Any) -> None:
        self._outputs = differentiable(outputs)
        with tf.GradientTape(persistent=True) as self._tape:
            self._tape.watch(self._outputs)
            self.losses, self.slope = losses_and_slope(objective, outputs)

    def product(self, u: tf.Tensor) -> tf.Tensor:
        """`S u`."""
        image = self._tape.gradient(
            self.slope,
            self._outputs,
            output_gradients=_like(u, self._outputs),
            unconnected_gradients=_ZERO,
        )
        return _flat(image)


def losses_and_slope(objective: TaskObjective, outputs: Any) -> tuple[tf.Tensor, Any]:
    """The support losses, and their derivative with respect to the differentiable outputs."""
    sources = differentiable(outputs)
    with tf.GradientTape() as tape:
        tape.watch(sources)
        losses = objective.support_loss_of(outputs)
    # Without ZERO, unconnected gradients would be None, and TensorFlow reads None as an output
    # gradient of ones.
    slope = tf.nest.map_structure(
        tf.convert_to_tensor,  # it may be sparse, see `_flat`
        tape.gradient(losses, sources, unconnected_gradients=_ZERO),
    )
    return losses, slope


def differentiable(outputs: Any) -> list[tf.Tensor]:
    """The outputs that are no integers, such as the number of a class beside its logits."""
    return [part for part in tf.nest.flatten(outputs) if part.dtype.is_floating]


def _flat(outputs: Any) -> tf.Tensor:
    """Outputs of any structure as one vector per task, `[tasks, outputs]`."""
    # Vectorization over an unknown number of tasks uses gather, whose derivative is sparse.
    parts = [tf.convert_to_tensor(part) for part in tf.nest.flatten(outputs)]
    return tf.concat([tf.reshape(part, [tf.shape(part)[0], -1]) for part in parts], axis=1)


def _like(vectors: tf.Tensor, outputs: Any) -> Any:
    """The inverse of `_flat`, in the structure of `outputs`."""
    parts = tf.nest.flatten(outputs)
    if len(parts) == 1:
        return tf.nest.pack_sequence_as(outputs, [tf.reshape(vectors, tf.shape(parts[0]))])
    sizes = [tf.size(part) // tf.shape(part)[0] for part in parts]
    pieces = tf.split(vectors, sizes, axis=1)
    shaped = [tf.reshape(v, tf.shape(p)) for v, p in zip(pieces, parts, strict=True)]
    return tf.nest.pack_sequence_as(outputs, shaped)
