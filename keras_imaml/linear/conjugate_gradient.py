"""Conjugate gradient on a batch of independent systems, guarded for use inside training."""

from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.validation import check_choice, check_integer, check_number
from keras_imaml._utils.vectors import dot, length, norm, rounding, select
from keras_imaml.linear.operators import HessianProduct
from keras_imaml.linear.solution import LinearSolution, Operator, Status


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

    Each task is a system of its own: it stops by itself when it has converged, when it meets
    negative curvature, or when a number stops being finite; the others go on undisturbed.

    * The right-hand side is normalized first, so that tiny gradients (1e-30 in float32) solve as
      well as others.
    * At `p.Ap <= 0` the matrix is not positive definite: the task keeps its best iterate. If that
      happens at the first step, it gets `M^-1 v`, which for the meta-gradient is the first-order
      direction.
    * The last iterate is returned: none is closer to the solution in the norm of `A` after as
      many products, though residuals may rise on the way, even above 1. Where rounding or
      negative curvature ends that, it is the iterate with the smallest residual; so it is for the
      exact Hessian, whose negative curvature a few steps may not meet. There zero is returned if
      all others have residuals above 1: such a task adds nothing to a meta-gradient.
    * Every `refresh` steps the residual is computed afresh, against drift in float32.

    Args:
        max_steps: Products with `A`, at most. Defaults to `5` (the paper's number).
        tolerance: Relative residual `||v - A w|| / ||v||` at which a task stops. Defaults to
            `1e-6`.
        refresh: Steps between true residuals (one more product each). Defaults to `10`.
        start: `"zero"`, or `"first_order"`: start from `M^-1 v`, which for the meta-gradient is
            the first-order direction, at one more product. With as many products in all it is
            as good as `"zero"`, and no better. Defaults to `"zero"`.

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
        precondition = preconditioner or tf.identity
        rhs = tf.convert_to_tensor(rhs)
        epsilon = tf.constant(rhs.dtype.as_numpy_dtype(rounding(rhs.dtype)))
        scale = norm(rhs)
        finite = tf.math.is_finite(scale)
        solvable = finite & (scale > 0)
        scale = tf.where(solvable, scale, tf.ones_like(scale))
        b = select(solvable, rhs / scale[:, None], tf.zeros_like(rhs))

        def energy(x: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
            return -dot(x, b + r)

        guess, residual = tf.zeros_like(b), b
        best_norm = tf.cast(solvable, scale.dtype)
        warm = self.start == "first_order"
        if warm:
            guess = precondition(b)
            residual = b - operator(guess)
            usable = solvable & tf.math.is_finite(length(residual))
            guess = select(usable, guess, tf.zeros_like(b))
            residual = select(usable, residual, b)
            best_norm = length(residual)
        done = solvable & (best_norm <= self.tolerance)

        def body(*loop: tf.Tensor) -> _State:
            s = _State(*loop)
            product = operator(s.p)
            curvature = dot(s.p, product)
            valid = tf.math.is_finite(curvature)
            positive = curvature > epsilon * length(s.p) * length(product)
            # Curvature that is negative at the first step leaves nothing better than M^-1 b.
            first = s.active & valid & ~positive & tf.equal(s.step, 0)
            go = s.active & valid & positive
            # Rows that stand still get steps of zero; nothing in them may be infinite then.
            product = select(go | first, product, tf.zeros_like(product))
            alpha = tf.where(go, tf.math.divide_no_nan(s.rz, curvature), 0)
            x = s.x + alpha[:, None] * s.p
            r = s.r - alpha[:, None] * product
            if self.max_steps > self.refresh:
                due = tf.equal((s.step + 1) % self.refresh, 0)
                r = tf.cond(due, lambda: select(go, b - operator(x), r), lambda: r)
            alone = length(residual) if warm else length(b - product)
            best_norm = tf.where(first, alone, s.best_norm)
            r_norm = length(r)
            better = go & (r_norm < best_norm)
            best_norm = tf.where(better, r_norm, best_norm)
            best_x = tf.cond(
                tf.reduce_all(better),  # as usual: nothing to copy
                lambda: x,
                lambda: select(better, x, select(first, guess if warm else s.p, s.best_x)),
            )
            converged = go & (r_norm <= self.tolerance)
            status = tf.where(s.active & ~valid, int(Status.NON_FINITE), s.status)
            status = tf.where(s.active & valid & ~positive, int(Status.NEGATIVE_CURVATURE), status)
            status = tf.where(converged, int(Status.CONVERGED), status)
            z = precondition(r)
            rz = dot(r, z)
            beta = tf.where(go, tf.math.divide_no_nan(rz, s.rz), 0)
            return _State(
                step=s.step + 1,
                x=x,
                r=r,
                p=z + beta[:, None] * s.p,
                rz=rz,
                best_x=best_x,
                best_norm=best_norm,
                best_energy=tf.where(better, energy(x, r), s.best_energy),
                steps=s.steps + tf.cast(s.active, tf.int32),
                status=status,
                active=go & ~converged,
            )

        z = precondition(residual)
        tasks = tf.shape(rhs)[:1]
        start = _State(
            step=tf.constant(0),
            x=guess,
            r=residual,
            p=z,
            rz=dot(residual, z),
            best_x=guess,
            best_norm=best_norm,
            best_energy=energy(guess, residual),
            steps=tf.fill(tasks, int(warm)),
            status=tf.where(
                finite,
                tf.where(solvable & ~done, int(Status.MAX_STEPS), int(Status.CONVERGED)),
                int(Status.NON_FINITE),
            ),
            active=solvable & ~done,
        )
        end = _State(
            *tf.while_loop(
                lambda *s: tf.reduce_any(_State(*s).active),
                body,
                start,
                maximum_iterations=self.max_steps,
                parallel_iterations=1,
            )
        )
        margin = epsilon * tf.abs(end.best_energy)
        last = energy(end.x, end.r) < end.best_energy - margin
        last &= end.status != int(Status.NEGATIVE_CURVATURE)
        if isinstance(operator, HessianProduct):
            last = tf.zeros_like(last)
        return LinearSolution(
            solution=select(last, end.x, end.best_x) * scale[:, None],
            residual=tf.where(last, length(end.r), end.best_norm),
            steps=end.steps,
            status=end.status,
        )
