"""The Neumann series: a fixed number of fixed steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.loops import figures_by_step, while_active
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml._utils.vectors import dot, norm, select
from keras_imaml.linear.solution import LinearSolution, Operator, Status


class _State(NamedTuple):
    x: tf.Tensor
    r: tf.Tensor  # its residual
    best_x: tf.Tensor  # the sum with the smallest residual so far
    best_norm: tf.Tensor
    steps: tf.Tensor
    active: tf.Tensor


class _Series(NamedTuple):
    start: _State
    add_term: Callable[[_State], _State]
    sum_of: Callable[[_State], LinearSolution]


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class Neumann(Configurable):
    """Solve `A w = v` by `w <- w + M^-1 (v - A w) / scale`, task by task.

    The sum of the first terms of the Neumann series of `A^-1`. It needs the step to be a
    contraction: `scale` must be at least half the largest eigenvalue of `M^-1 A`. Conjugate
    gradient takes far fewer products; this solver serves comparisons with other work.

    Args:
        max_steps: Terms, one product with `A` each. Defaults to `20`.
        scale: Divisor of each step. `None` estimates the largest eigenvalue of `M^-1 A` of each
            task by `power_steps` products. Defaults to `None`.
        power_steps: Products spent on the estimate. Defaults to `5`.
        tolerance: Relative residual at which a task has converged. Defaults to `1e-6`.

    Example:

    ```python
    ki.IMAML(linear=ki.linear.Neumann(max_steps=30))
    ```

    References:
        Lorraine, Vicol, Duvenaud: Optimizing Millions of Hyperparameters by Implicit
        Differentiation, 2020.
    """

    max_steps: int = 20
    scale: float | None = None
    power_steps: int = 5
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_integer("max_steps", self.max_steps, minimum=1)
        check_integer("power_steps", self.power_steps, minimum=1)
        check_number("tolerance", self.tolerance, minimum=0.0)
        if self.scale is not None:
            check_number("scale", self.scale, minimum=0.0, exclusive=True)

    def solve(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None = None
    ) -> LinearSolution:
        """See `LinearSolver.solve`."""
        series = self._series(operator, rhs, preconditioner or tf.identity)
        return series.sum_of(while_active(series.add_term, series.start, self.max_steps))

    def residuals(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None, steps: int
    ) -> tf.Tensor:
        """See `IterativeSolver.residuals`."""
        series = self._series(operator, rhs, preconditioner or tf.identity)
        return figures_by_step(
            series.add_term, series.start, steps, lambda s: series.sum_of(s).residual, rhs.dtype
        )

    def _series(self, operator: Operator, rhs: tf.Tensor, precondition: Operator) -> _Series:
        size = norm(rhs)
        valid = tf.math.is_finite(size)
        solvable = valid & (size > 0)
        size = tf.where(solvable, size, tf.ones_like(size))
        b = select(solvable, rhs / size[:, None], tf.zeros_like(rhs))
        scale = self._scale(operator, b, precondition)
        first_order = precondition(b)
        first_order_residual = norm(b - operator(first_order))

        def add_term(s: _State) -> _State:
            x = select(s.active, s.x + precondition(s.r) / scale, s.x)
            r = select(s.active, b - operator(x), s.r)
            better = s.active & (norm(r) < s.best_norm)
            best_norm = tf.where(better, norm(r), s.best_norm)
            return _State(
                x=x,
                r=r,
                best_x=select(better, x, s.best_x),
                best_norm=best_norm,
                steps=s.steps + tf.cast(s.active, tf.int32),
                active=best_norm > self.tolerance,
            )

        def sum_of(s: _State) -> LinearSolution:
            x, residual = s.best_x, s.best_norm
            converged = residual <= self.tolerance
            status = tf.where(converged, int(Status.CONVERGED), int(Status.MAX_STEPS))
            # A task that found nothing better than zero has diverged, or has products of NaN.
            stuck = solvable & (residual >= 1)
            broken = ~valid | (stuck & ~tf.math.is_finite(first_order_residual))
            status = tf.where(stuck, int(Status.DIVERGED), status)
            status = tf.where(broken, int(Status.NON_FINITE), status)
            falls_back = stuck & ~broken
            x = select(falls_back, first_order, x)
            residual = tf.where(falls_back, first_order_residual, residual)
            steps = s.steps + (0 if self.scale is not None else self.power_steps + 1)
            return LinearSolution(x * size[:, None], residual, steps, tf.cast(status, tf.int32))

        zero, best_norm = tf.zeros_like(b), tf.cast(solvable, size.dtype)
        none = tf.zeros(tf.shape(rhs)[:1], tf.int32)
        start = _State(zero, b, zero, best_norm, none, best_norm > self.tolerance)
        return _Series(start, add_term, sum_of)

    def _scale(self, operator: Operator, b: tf.Tensor, precondition: Operator) -> tf.Tensor:
        if self.scale is not None:
            return tf.constant(self.scale, b.dtype)

        def body(v: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            v = precondition(operator(v))
            largest = norm(v)
            return tf.math.divide_no_nan(v, largest[:, None]), largest

        # A loop in the graph builds the large product only once.
        v, largest = tf.while_loop(
            lambda *_: tf.constant(True),
            body,
            (b, tf.ones_like(b[:, 0])),
            maximum_iterations=self.power_steps,
            parallel_iterations=1,
        )
        # The estimate is too small, if anything: the margin keeps the step a contraction.
        rayleigh = tf.abs(dot(v, precondition(operator(v))))
        return 1.1 * tf.maximum(tf.maximum(largest, rayleigh), 1e-12)[:, None]
