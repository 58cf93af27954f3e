"""The implicit rule: the gradient of the outer objective for any meta-parameter.

With the inner solution phi(m), where `grad_phi G(phi, m) = 0`, and the outer loss L(phi, m):

    solve  A w = dL/dphi,  A = d2G/dphi2
    dL/dm = direct dL/dm - grad_m < grad_phi G(phi, m), w >

For m = theta this is `lambda w = (I + H/lambda)^-1 dL/dphi` (Rajeswaran et al., 2019, Lemma 1);
for m = lambda it is `-(phi - theta).w`; for weights that all tasks share, the mixed derivative.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import length, norm, select
from keras_imaml.curvature import Linearization
from keras_imaml.linear import LinearSolution, LinearSolver


class ImplicitGradient(NamedTuple):
    """The implicit part of a meta-gradient, summed over the valid tasks.

    Attributes:
        sums: `- grad_m < grad_phi G, w >`, one (or None) for each variable.
        per_task: `[tasks, size]`, `lambda w`, the meta-gradient for theta task by task.
        solution: The result of the linear solver.
        inner_residual: `[tasks]`, `||grad G(phi)||` (bounds delta of the paper: the distance to
            the exact solution is at most this over the smallest curvature).
        valid: `[tasks]`, tasks that took part.
    """

    sums: list[Any]
    per_task: tf.Tensor
    solution: LinearSolution
    inner_residual: tf.Tensor
    valid: tf.Tensor


def implicit_gradient(
    linearization: Linearization,
    query_gradient: tf.Tensor,
    valid: tf.Tensor,
    linear: LinearSolver,
) -> ImplicitGradient:
    """Apply the rule at phi.

    Args:
        linearization: The inner problem, linearized at the inner solutions phi for the
            meta-parameters m.
        query_gradient: `[tasks, size]`, `dL_t/dphi_t`.
        valid: `[tasks]`, the tasks to use. Others contribute nothing.
        linear: The solver of `A w = dL/dphi`.
    """
    strength = linearization.problem.strength
    rhs = select(valid, query_gradient, tf.zeros_like(query_gradient))
    solution = linear.solve(linearization.product, rhs, preconditioner=lambda r: r / strength)
    per_task = strength * solution.solution
    valid = valid & tf.math.is_finite(length(per_task))
    w = select(valid, solution.solution, tf.zeros_like(rhs))
    return ImplicitGradient(
        sums=linearization.mixed(-w),
        per_task=select(valid, per_task, tf.zeros_like(rhs)),
        solution=solution,
        inner_residual=norm(linearization.gradient),
        valid=valid,
    )
