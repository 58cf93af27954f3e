"""The Gauss-Newton curvature of the inner objective: never indefinite."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

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
            objective = inner_problem.objective
            penalized = objective.inner.network.penalized
            penalty_tape = tf.GradientTape(persistent=True)
            with penalty_tape if penalized else contextlib.nullcontext():
                with tf.GradientTape(persistent=True) as jacobian_tape:
                    jacobian_tape.watch(phi)
                    if penalized:
                        penalty_tape.watch(phi)
                    all_outputs, penalty = objective.support(phi)
                    outputs = differentiable(all_outputs)
                if penalized:  # penalties enter with their full Hessian
                    penalty_gradient = jacobian_tape.gradient(
                        penalty, phi, unconnected_gradients=_ZERO
                    )
            with tf.GradientTape(persistent=True) as loss_tape:
                loss_tape.watch(outputs)
                losses, slope = losses_and_slope(objective, all_outputs)
            # J' u is linear in u, so its derivative is the same at every u. The pass that gives
            # the gradient therefore also gives the products with J.
            with tf.GradientTape(persistent=True) as transpose_tape:
                seed = tf.nest.map_structure(tf.identity, slope)
                transpose_tape.watch(seed)
                pulled_back = jacobian_tape.gradient(outputs, phi, output_gradients=seed)
                pulled_back = tf.ensure_shape(pulled_back, phi.shape)
            gradient = pulled_back + inner_problem.proximal_gradient(phi)
            if penalized:
                gradient += penalty_gradient

        def push_forward(v: tf.Tensor) -> tf.Tensor:  # J v
            image = transpose_tape.gradient(
                pulled_back, seed, output_gradients=v, unconnected_gradients=_ZERO
            )
            return _flat(image)

        def loss_hessian(u: tf.Tensor) -> tf.Tensor:  # S u
            product = loss_tape.gradient(
                slope, outputs, output_gradients=_like(u, outputs), unconnected_gradients=_ZERO
            )
            return _flat(product)

        def pull_back(u: tf.Tensor) -> tf.Tensor:  # J' u
            pulled = jacobian_tape.gradient(outputs, phi, output_gradients=_like(u, outputs))
            return tf.ensure_shape(pulled, phi.shape)

        def penalty_product(v: tf.Tensor) -> tf.Tensor:
            product = penalty_tape.gradient(penalty_gradient, phi, output_gradients=v)
            return tf.zeros_like(v) if product is None else product

        return Linearization(
            problem=inner_problem,
            value=inner_problem.with_proximal_term(losses + penalty, phi),
            gradient=gradient,
            product=GaussNewtonProduct(
                push_forward=push_forward,
                loss_hessian=loss_hessian,
                pull_back=pull_back,
                strength=inner_problem.strength,
                penalty=penalty_product if penalized else None,
            ),
            mixed=lambda w: meta_tape.gradient(gradient, list(variables), output_gradients=w),
        )


def losses_and_slope(objective: TaskObjective, outputs: Any) -> tuple[tf.Tensor, Any]:
    """The support losses, and their derivative with respect to the differentiable outputs."""
    sources = differentiable(outputs)
    with tf.GradientTape() as tape:
        tape.watch(sources)
        losses = objective.inner.loss(objective.tasks.support_y, outputs)
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
