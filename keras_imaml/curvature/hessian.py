"""The exact curvature of the inner objective: Hessian of the support loss, plus lambda."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml.configurable import ShownAsCall
from keras_imaml.curvature.linearization import Linearization
from keras_imaml.curvature.products import HessianProduct
from keras_imaml.objective import InnerProblem


class Hessian(ShownAsCall):
    """Products with `A = H + lambda I`, by reverse mode over reverse mode.

    Exact, but indefinite as soon as the support loss is not convex around `phi`.

    References:
        Pearlmutter, 1994; Rajeswaran et al., 2019, algorithm 2.
    """

    def linearize(
        self, problem: Callable[[], InnerProblem], phi: tf.Tensor, variables: Sequence[Any]
    ) -> Linearization:
        """See `Curvature.linearize`."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(phi)
            inner_problem = problem()
            inner_problem.watch(tape)
            gradient = inner_problem.gradient(phi)
        return Linearization(
            gradient=gradient,
            product=HessianProduct(
                lambda v: tf.ensure_shape(
                    tape.gradient(gradient, phi, output_gradients=v), phi.shape
                )
            ),
            mixed=lambda w: tape.gradient(gradient, list(variables), output_gradients=w),
        )
