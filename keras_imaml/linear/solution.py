"""The result of a linear solver: a solution per task, with its residual, steps and status."""

import enum
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

Operator = Callable[[tf.Tensor], tf.Tensor]
"""A product `v -> A v` on vectors `[tasks, size]`, task by task."""


class Status(enum.IntEnum):
    """How a linear solve ended, for one task; `Status(value).advice` says what to do about it.

    Example:

    ```python
    print(ki.linear.Status(2).name, ki.linear.Status(2).advice)
    ```
    """

    CONVERGED = 0
    MAX_STEPS = 1
    NEGATIVE_CURVATURE = 2
    NON_FINITE = 3
    DIVERGED = 4

    @property
    def advice(self) -> str:
        """What to do about this status, in a sentence."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "The residual is below the tolerance; there is nothing to do.",
    Status.MAX_STEPS: (
        "The steps ran out before the residual fell below the tolerance. Increase `max_steps`, "
        "increase `proximal_strength` (a better conditioned system), or accept the residual: a "
        "relative residual below the inner residual gains nothing."
    ),
    Status.NEGATIVE_CURVATURE: (
        "The system is not positive definite, so the support loss is not convex enough around the "
        "adapted weights. Use `curvature='gauss_newton'`, increase `proximal_strength`, or take "
        "more inner steps. The best iterate found before was returned."
    ),
    Status.NON_FINITE: (
        "A product or the right-hand side holds NaN or infinity. Look at the inputs of the task, "
        "lower the inner learning rate, or increase `proximal_strength`."
    ),
    Status.DIVERGED: (
        "The iteration moved away from the solution: its step is too long for the largest "
        "eigenvalue, or the system is indefinite. Increase `scale`, or use "
        "keras_imaml.linear.ConjugateGradient(). The first-order direction was returned."
    ),
}


class LinearSolution(NamedTuple):
    """Solutions of `A_t w_t = v_t` for the tasks t of a meta-batch.

    Attributes:
        solution: `[tasks, size]`, `w`.
        residual: `[tasks]`, `||v - A w|| / ||v||` (delta' of the paper, relative).
        steps: `[tasks]`, int32, products with `A` spent on the task.
        status: `[tasks]`, int32, the `Status` of each task.
    """

    solution: tf.Tensor
    residual: tf.Tensor
    steps: tf.Tensor
    status: tf.Tensor


class LinearSolver(Protocol):
    """The interface of every linear solver of this package."""

    def solve(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None = None
    ) -> LinearSolution:
        """Solve `A w = rhs` for each task.

        Args:
            operator: `v [tasks, size] -> A v`, symmetric. A property `is_positive_definite` that
                is not True, as that of a Hessian, warns the solver of negative curvature.
            rhs: `[tasks, size]`.
            preconditioner: `r -> M^-1 r`, with a symmetric positive definite `M` near `A`.
                Defaults to the identity.
        """
        ...


@runtime_checkable
class IterativeSolver(LinearSolver, Protocol):
    """A linear solver that takes steps, and knows how far each of them comes.

    Attributes:
        max_steps: The largest number of steps of `solve`.
    """

    max_steps: int

    def residuals(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None, steps: int
    ) -> tf.Tensor:
        """The residual of the solution after each of the first steps, `[tasks, steps]`.

        Args:
            operator: See `solve`.
            rhs: See `solve`.
            preconditioner: See `solve`.
            steps: How many, whatever `max_steps` is.
        """
        ...
