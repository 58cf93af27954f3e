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
    squared error) A is positive definite, whatever the network does. It leaves out the curvature
    of the network itself, which fades as the support loss does.

    The product `J v` is the derivative of `u -> J' u`, which reverse mode gives (J' u is linear in
    u), so that all products reuse one forward and one backward pass.

    References:
        Schraudolph, 2002; Martens, 2010.
    """

    def linearize(
        self, problem: Callable[[], InnerProblem], phi: tf.Tensor, variables: Sequence[Any]
    ) -> Linearization:
        """See `Curvature.linearize`."""
        with tf.GradientTape(persistent=True) as meta_tape:  # sees the meta-parameters alone
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
                    outputs, penalty = objective.support(phi)
                if penalized:  # penalties enter with their full Hessian
                    penalty_gradient = jacobian_tape.gradient(
                        penalty, phi, unconnected_gradients=_ZERO
                    )
            with tf.GradientTape(persistent=True) as loss_tape:
                loss_tape.watch(outputs)
                losses, slope = losses_and_slope(objective, outputs)
            # J' u is linear in u: its derivative is the same at every u, so that the pass which
            # gives the gradient also gives the products with J.
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
            bent = loss_tape.gradient(
                slope, outputs, output_gradients=_like(u, outputs), unconnected_gradients=_ZERO
            )
            return _flat(bent)

        def pull_back(u: tf.Tensor) -> tf.Tensor:  # J' u
            pulled = jacobian_tape.gradient(outputs, phi, output_gradients=_like(u, outputs))
            return tf.ensure_shape(pulled, phi.shape)

        def penalty_product(v: tf.Tensor) -> tf.Tensor:
            bent = penalty_tape.gradient(penalty_gradient, phi, output_gradients=v)
            return tf.zeros_like(v) if bent is None else bent

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
    """The support losses, and their derivative with respect to the outputs."""
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        losses = objective.inner.loss(objective.tasks.support_y, outputs)
    # Without ZERO, what does not depend on something would be None, and None as an output
    # gradient means ones.
    slope = tf.nest.map_structure(
        tf.convert_to_tensor,  # it may be sparse, see `_flat`
        tape.gradient(losses, outputs, unconnected_gradients=_ZERO),
    )
    return losses, slope


def _flat(outputs: Any) -> tf.Tensor:
    """Outputs of all kinds as one vector a task, `[tasks, outputs]`."""
    # Vectorization over an unknown number of tasks gathers; the derivative of that is sparse.
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
