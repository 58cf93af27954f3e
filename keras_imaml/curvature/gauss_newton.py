"""The Gauss-Newton curvature of the inner objective: never indefinite."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml.configurable import ShownAsCall
from keras_imaml.curvature.linearization import Linearization
from keras_imaml.curvature.products import GaussNewtonProduct
from keras_imaml.objective import InnerProblem

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
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(phi)
            inner_problem = problem()
            objective = inner_problem.objective
            inner_problem.watch(outer)
            with tf.GradientTape(persistent=True) as inner:
                inner.watch(phi)
                outputs, penalty = objective.support(phi)
            with tf.GradientTape(persistent=True) as second:
                second.watch(outputs)
                with tf.GradientTape() as first:
                    first.watch(outputs)
                    losses = objective.inner.loss(objective.tasks.support_y, outputs)
                # Without ZERO, what does not depend on something would be None, and None as an
                # output gradient means ones.
                slope = tf.nest.map_structure(
                    tf.convert_to_tensor,  # it may be sparse, see `_flat`
                    first.gradient(losses, outputs, unconnected_gradients=_ZERO),
                )

            def transposed(u: Any) -> tf.Tensor:  # J' u
                return tf.ensure_shape(inner.gradient(outputs, phi, output_gradients=u), phi.shape)

            seed = tf.nest.map_structure(tf.zeros_like, outputs)
            outer.watch(seed)
            pulled_back = transposed(seed)
            gradient = transposed(slope) + inner_problem.proximal_gradient(phi)
            if objective.inner.network.penalised:  # penalties enter with their full Hessian
                penalty_gradient = inner.gradient(penalty, phi, unconnected_gradients=_ZERO)
                gradient += penalty_gradient

        def push_forward(v: tf.Tensor) -> tf.Tensor:  # J v
            image = outer.gradient(
                pulled_back, seed, output_gradients=v, unconnected_gradients=_ZERO
            )
            return _flat(image)

        def bend(u: tf.Tensor) -> tf.Tensor:  # S u
            u = _like(u, outputs)
            return _flat(
                second.gradient(slope, outputs, output_gradients=u, unconnected_gradients=_ZERO)
            )

        def penalty_product(v: tf.Tensor) -> tf.Tensor:
            bent = outer.gradient(penalty_gradient, phi, output_gradients=v)
            return tf.zeros_like(v) if bent is None else bent

        product = GaussNewtonProduct(
            push_forward=push_forward,
            bend=bend,
            pull_back=lambda u: transposed(_like(u, outputs)),
            strength=inner_problem.strength,
            penalty=penalty_product if objective.inner.network.penalised else None,
        )
        return Linearization(
            gradient=gradient,
            product=product,
            mixed=lambda w: outer.gradient(gradient, list(variables), output_gradients=w),
        )


def _flat(outputs: Any) -> tf.Tensor:
    """Outputs of all kinds as one vector a task, `[tasks, outputs]`."""
    # Vectorisation over an unknown number of tasks gathers; the derivative of that is sparse.
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
