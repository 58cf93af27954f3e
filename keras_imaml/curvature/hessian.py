"""The exact curvature of the inner objective: Hessian of the support loss, plus lambda."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml._utils.configurable import ShownAsCall
from keras_imaml.curvature.linearization import Linearization
from keras_imaml.linear.operators import HessianProduct
from keras_imaml.objectives.inner_problem import InnerProblem


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
        with tf.GradientTape(persistent=True) as meta_tape:  # watches the meta-parameters
            inner_problem = problem()
            inner_problem.watch(meta_tape)
            with tf.GradientTape(persistent=True) as curvature_tape:
                curvature_tape.watch(phi)
                support, gradient = inner_problem.support_and_gradient(phi)

        def product(v: tf.Tensor) -> tf.Tensor:
            hessian_product = curvature_tape.gradient(gradient, phi, output_gradients=v)
            return tf.ensure_shape(hessian_product, phi.shape)

        return Linearization(
            problem=inner_problem,
            value=inner_problem.with_proximal_term(support, phi),
            gradient=gradient,
            product=HessianProduct(product),
            mixed=lambda w: meta_tape.gradient(gradient, list(variables), output_gradients=w),
        )
