"""The exact solution of a Gauss-Newton system through its dual."""

from dataclasses import dataclass
from typing import cast

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.validation import check_number
from keras_imaml._utils.vectors import finite, norm, select
from keras_imaml.linear.operators import GaussNewtonProduct
from keras_imaml.linear.solution import LinearSolution, Operator, Status

_FACTORS = ("push_forward", "loss_hessian", "pull_back", "strength", "penalized")


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class Dual(Configurable):
    """Solve `(J' S J + M) w = v` exactly, in as many unknowns as the support set has outputs.

    With K = J M^-1 J', a square matrix of support examples x outputs for each task,

        w = M^-1 (v - J' (I + S K)^-1 S J M^-1 v).

    There are no iterations. A 5-way 1-shot task has 25 unknowns. K costs one product with J and
    one with J' for each unknown: prefer conjugate gradient for large support sets.

    Args:
        tolerance: Relative residual at which a task counts as converged. Defaults to `1e-3`.

    Example:

    ```python
    ki.IMAML(linear=ki.linear.Dual(), curvature="gauss_newton")
    ```
    """

    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_number("tolerance", self.tolerance, minimum=0.0)

    def solve(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None = None
    ) -> LinearSolution:
        """See `LinearSolver.solve`.

        Raises:
            ValueError: If the operator is not of Gauss-Newton form.
        """
        if not all(hasattr(operator, name) for name in _FACTORS):
            raise ValueError(
                "The dual solver needs the factors of the system. Expected "
                "curvature='gauss_newton'; with curvature='hessian' use "
                "keras_imaml.linear.ConjugateGradient(). "
                f"Received: an operator of type {type(operator).__name__}"
            )
        system = cast(GaussNewtonProduct, operator)
        if system.penalized:
            raise ValueError(
                "The dual solver needs the model's curvature to come from its outputs alone. "
                "Expected a model without weight regularizers; use "
                "keras_imaml.linear.ConjugateGradient() with them."
            )
        valid = finite(rhs)
        rhs = select(valid, rhs, tf.zeros_like(rhs))
        small = system.loss_hessian(system.push_forward(rhs / system.strength))  # S J M^-1 v
        kernel = self._columns(system, small)  # S K, column by column
        # A single matrix that is not finite would make the dense solve fail for all tasks.
        solved = finite(kernel)
        kernel = select(solved, kernel, tf.zeros_like(kernel))
        matrix = kernel + tf.eye(tf.shape(small)[1], dtype=rhs.dtype)
        # One refinement step recovers most of what single precision loses.
        y = tf.linalg.solve(matrix, small[..., None])
        y += tf.linalg.solve(matrix, small[..., None] - tf.matmul(matrix, y))
        w = (rhs - system.pull_back(y[..., 0])) / system.strength
        solved &= finite(w)
        w = select(solved, w, rhs / system.strength)
        residual = tf.math.divide_no_nan(norm(rhs - system(w)), norm(rhs))
        status = tf.where(residual <= self.tolerance, int(Status.CONVERGED), int(Status.MAX_STEPS))
        status = tf.where(valid & solved, status, int(Status.NON_FINITE))
        steps = tf.fill(tf.shape(rhs)[:1], tf.shape(small)[1] + 1)
        return LinearSolution(w, residual, steps, tf.cast(status, tf.int32))

    def _columns(self, operator: GaussNewtonProduct, small: tf.Tensor) -> tf.Tensor:
        """`S J M^-1 J'` of each task, `[tasks, outputs, outputs]`."""
        count = tf.shape(small)[1]

        def column(number: tf.Tensor) -> tf.Tensor:
            unit = tf.broadcast_to(tf.one_hot(number, count, dtype=small.dtype), tf.shape(small))
            image = operator.pull_back(unit) / operator.strength
            return operator.loss_hessian(operator.push_forward(image))

        columns = tf.map_fn(
            column, tf.range(count), fn_output_signature=small.dtype, parallel_iterations=1
        )
        return tf.transpose(columns, [1, 2, 0])
