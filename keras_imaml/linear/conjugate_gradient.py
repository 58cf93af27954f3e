"""Conjugate gradient on a batch of independent systems, guarded for use inside training."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.loops import figures_by_step, while_active
from keras_imaml._utils.validation import check_choice, check_integer, check_number
from keras_imaml._utils.vectors import dot, length, norm, rounding, select
from keras_imaml.linear.solution import LinearSolution, Operator, Status


class _System(NamedTuple):
    operator: Operator  # v -> A v
    precondition: Operator  # r -> M^-1 r
    b: tf.Tensor  # the right-hand sides, of length one
    scale: tf.Tensor  # their length before
    finite: tf.Tensor  # tasks whose right-hand side is finite
    solvable: tf.Tensor  # and not zero
    epsilon: tf.Tensor  # relative size of rounding errors


class _State(NamedTuple):
    step: tf.Tensor
    x: tf.Tensor  # the current iterate
    r: tf.Tensor  # its residual b - A x
    p: tf.Tensor  # the search direction
    rz: tf.Tensor  # r . M^-1 r
    best_x: tf.Tensor  # the iterate with the smallest residual so far
    best_norm: tf.Tensor
    best_energy: tf.Tensor  # x.Ax - 2 b.x, which falls with the error in the norm of A
    steps: tf.Tensor
    status: tf.Tensor
    active: tf.Tensor  # tasks that still iterate


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class ConjugateGradient(Configurable):
    """Solve `A w = v` for every task of a meta-batch by conjugate gradient.

    Each task is an independent system. It stops when it has converged, when it meets negative
    curvature, or when a value is no longer finite. The other tasks continue.

    * The right-hand side is normalized first. Tiny gradients (1e-30 in float32) are solved as
      accurately as others.
    * At `p.Ap <= 0` the matrix is not positive definite, and the task keeps its best iterate. At
      the first step it gets `M^-1 v`, which for the meta-gradient is the first-order direction.
    * The last iterate is returned. After as many products, no other one is closer to the solution
      in the norm of `A`, although residuals may rise on the way, even above 1.
    * The iterate with the smallest residual is returned instead after rounding errors or negative
      curvature, and always for the exact Hessian, whose negative curvature a few steps may miss.
      It is zero if all residuals exceed 1: such a task adds nothing to a meta-gradient.
    * Every `refresh` steps the residual is recomputed, because it drifts in float32.

    Args:
        max_steps: Maximum number of products with `A`. Defaults to `5`, as in the paper.
        tolerance: Relative residual `||v - A w|| / ||v||` at which a task stops. Defaults to
            `1e-6`.
        refresh: Steps between recomputed residuals (one more product each). Defaults to `10`.
        start: `"zero"` or `"first_order"`, which starts from `M^-1 v` and costs one more product.
            For the same number of products both are equally accurate. Defaults to `"zero"`.

    Example:

    ```python
    A = tf.constant([[2.0, 0.0], [0.0, 10.0]])
    result = ki.linear.ConjugateGradient(max_steps=2).solve(lambda v: v @ A, tf.ones([1, 2]))
    result.solution                     # [[0.5, 0.1]]
    ki.linear.Status(int(result.status[0]))       # Status.CONVERGED
    ```

    References:
        Hestenes and Stiefel, 1952; Rajeswaran et al., 2019, equation 7.
    """

    max_steps: int = 5
    tolerance: float = 1e-6
    refresh: int = 10
    start: str = "zero"

    def __post_init__(self) -> None:
        check_integer("max_steps", self.max_steps, minimum=1)
        check_number("tolerance", self.tolerance, minimum=0.0)
        check_integer("refresh", self.refresh, minimum=1)
        check_choice("start", self.start, ("zero", "first_order"))

    def solve(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None = None
    ) -> LinearSolution:
        """See `LinearSolver.solve`."""
        system = _normalized(operator, rhs, preconditioner or tf.identity)
        start = self._start(system)
        end = while_active(lambda s: self._step(system, start, s), start, self.max_steps)
        return _chosen(system, end)

    def residuals(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None, steps: int
    ) -> tf.Tensor:
        """See `IterativeSolver.residuals`."""
        solver = replace(self, max_steps=steps)
        system = _normalized(operator, rhs, preconditioner or tf.identity)
        start = solver._start(system)
        return figures_by_step(
            lambda s: solver._step(system, start, s),
            start,
            steps,
            lambda s: _chosen(system, s).residual,
            system.b.dtype,
        )

    def _start(self, system: _System) -> _State:
        """The state before the first step."""
        b, solvable = system.b, system.solvable
        guess, residual = tf.zeros_like(b), b
        best_norm = tf.cast(solvable, b.dtype)
        warm = self.start == "first_order"
        if warm:
            guess = system.precondition(b)
            residual = b - system.operator(guess)
            usable = solvable & tf.math.is_finite(length(residual))
            guess = select(usable, guess, tf.zeros_like(b))
            residual = select(usable, residual, b)
            best_norm = length(residual)
        active = solvable & ~(best_norm <= self.tolerance)
        z = system.precondition(residual)
        return _State(
            step=tf.constant(0),
            x=guess,
            r=residual,
            p=z,
            rz=dot(residual, z),
            best_x=guess,
            best_norm=best_norm,
            best_energy=_energy(system, guess, residual),
            steps=tf.fill(tf.shape(b)[:1], int(warm)),
            status=tf.where(
                system.finite,
                tf.where(active, int(Status.MAX_STEPS), int(Status.CONVERGED)),
                int(Status.NON_FINITE),
            ),
            active=active,
        )

    def _step(self, system: _System, start: _State, s: _State) -> _State:
        """One iteration of all tasks; those that are not active stay where they are."""
        product = system.operator(s.p)
        curvature = dot(s.p, product)
        valid = tf.math.is_finite(curvature)
        positive = curvature > system.epsilon * length(s.p) * length(product)
        moves = s.active & valid & positive
        # With negative curvature at the first step there is nothing better than M^-1 b.
        falls_back = s.active & valid & ~positive & tf.equal(s.step, 0)
        # Finished tasks take a zero step; mask their products, since 0 * inf is NaN.
        product = select(moves | falls_back, product, tf.zeros_like(product))
        alpha = tf.where(moves, tf.math.divide_no_nan(s.rz, curvature), 0)
        x = s.x + alpha[:, None] * s.p
        r = s.r - alpha[:, None] * product
        if self.max_steps > self.refresh:
            due = tf.equal((s.step + 1) % self.refresh, 0)
            r = tf.cond(due, lambda: select(moves, system.b - system.operator(x), r), lambda: r)
        # In the first step, s.p is M^-1 b, and b - product the residual there.
        warm = self.start == "first_order"
        fallback = start.x if warm else s.p
        fallback_norm = length(start.r) if warm else length(system.b - product)
        best_norm = tf.where(falls_back, fallback_norm, s.best_norm)
        r_norm = length(r)
        better = moves & (r_norm < best_norm)
        converged = moves & (r_norm <= self.tolerance)
        z = system.precondition(r)
        rz = dot(r, z)
        beta = tf.where(moves, tf.math.divide_no_nan(rz, s.rz), 0)
        status = tf.where(s.active & ~valid, int(Status.NON_FINITE), s.status)
        status = tf.where(s.active & valid & ~positive, int(Status.NEGATIVE_CURVATURE), status)
        return _State(
            step=s.step + 1,
            x=x,
            r=r,
            p=z + beta[:, None] * s.p,
            rz=rz,
            best_x=tf.cond(
                tf.reduce_all(better),  # the usual case: nothing to copy
                lambda: x,
                lambda: select(better, x, select(falls_back, fallback, s.best_x)),
            ),
            best_norm=tf.where(better, r_norm, best_norm),
            best_energy=tf.where(better, _energy(system, x, r), s.best_energy),
            steps=s.steps + tf.cast(s.active, tf.int32),
            status=tf.where(converged, int(Status.CONVERGED), status),
            active=moves & ~converged,
        )


def _normalized(operator: Operator, rhs: tf.Tensor, precondition: Operator) -> _System:
    """The system with right-hand sides of length one; zeros where there is nothing to solve."""
    rhs = tf.convert_to_tensor(rhs)
    scale = norm(rhs)
    finite = tf.math.is_finite(scale)
    solvable = finite & (scale > 0)
    scale = tf.where(solvable, scale, tf.ones_like(scale))
    return _System(
        operator=operator,
        precondition=precondition,
        b=select(solvable, rhs / scale[:, None], tf.zeros_like(rhs)),
        scale=scale,
        finite=finite,
        solvable=solvable,
        epsilon=tf.constant(rhs.dtype.as_numpy_dtype(rounding(rhs.dtype))),
    )


def _energy(system: _System, x: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """`x.Ax - 2 b.x`, without another product: `A x = b - r` makes it `-x.(b + r)`."""
    return -dot(x, system.b + r)


def _chosen(system: _System, end: _State) -> LinearSolution:
    """The last iterate where its energy is lower; otherwise the one with the smallest residual."""
    margin = system.epsilon * tf.abs(end.best_energy)
    use_last = _energy(system, end.x, end.r) < end.best_energy - margin
    use_last &= end.status != int(Status.NEGATIVE_CURVATURE)
    # Energy measures the error only if A is positive definite. A Hessian may have negative
    # curvature in directions that the steps did not meet, and low energy then means nothing.
    # A plain function promises nothing, but solvers assume it is definite (see `LinearSolver`).
    if getattr(system.operator, "is_positive_definite", True) is not True:
        use_last = tf.zeros_like(use_last)
    return LinearSolution(
        solution=select(use_last, end.x, end.best_x) * system.scale[:, None],
        residual=tf.where(use_last, length(end.r), end.best_norm),
        steps=end.steps,
        status=end.status,
    )
