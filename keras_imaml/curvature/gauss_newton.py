"""The Gauss-Newton curvature of the inner objective: never indefinite."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml.curvature.linearization import Linearization
from keras_imaml.objective import InnerProblem

_ZERO = tf.UnconnectedGradients.ZERO


class GaussNewton:
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
            with tf.GradientTape(persistent=True) as inner:
                inner.watch(phi)
                outputs, penalty = objective.support(phi)
            with tf.GradientTape(persistent=True) as second:
                second.watch(outputs)
                with tf.GradientTape() as first:
                    first.watch(outputs)
                    losses = objective.loss(objective.tasks.support_y, outputs)
                # Without ZERO, what does not depend on something would be None, and None as an
                # output gradient means ones.
                slope = _dense(first.gradient(losses, outputs, unconnected_gradients=_ZERO))

            def transposed(u: Any) -> tf.Tensor:  # J' u
                return inner.gradient(outputs, phi, output_gradients=u)

            seed = tf.nest.map_structure(tf.zeros_like, outputs)
            outer.watch(seed)
            pulled_back = transposed(seed)
            gradient = transposed(slope) + inner_problem.proximal_gradient(phi)
            # The model's own penalties (weight regularisers) enter with their full Hessian.
            penalty_gradient = inner.gradient(penalty, phi)
            if penalty_gradient is not None:
                gradient += penalty_gradient

        def product(v: tf.Tensor) -> tf.Tensor:
            pushed_forward = outer.gradient(  # J v
                pulled_back, seed, output_gradients=v, unconnected_gradients=_ZERO
            )
            curved = second.gradient(  # S J v
                slope, outputs, output_gradients=_dense(pushed_forward), unconnected_gradients=_ZERO
            )
            total = transposed(_dense(curved)) + inner_problem.strength * v
            if penalty_gradient is not None:
                bent = outer.gradient(penalty_gradient, phi, output_gradients=v)
                total = total if bent is None else total + bent
            return total

        return Linearization(
            gradient=gradient,
            product=product,
            mixed=lambda w: outer.gradient(gradient, list(variables), output_gradients=w),
        )


def _dense(gradients: Any) -> Any:
    """Vectorisation over an unknown number of tasks gathers; the derivative of that is sparse."""
    return tf.nest.map_structure(tf.convert_to_tensor, gradients)
