"""Divergence of an inner loop: the inner objective ends higher than it began."""

from typing import NamedTuple

import tensorflow as tf

from keras_imaml.inner.solution import InnerSolution
from keras_imaml.objectives.inner_problem import InnerProblem


class Rise(NamedTuple):
    """How far the inner objective may rise above its value at theta.

    Attributes:
        share: As a share of that value's size.
        number: On top of it, in units of loss, for tasks that are solved already.
    """

    share: float
    number: float


# A minimizer is never above theta, where the proximal term is zero. Solvers without a line search
# only come near it: of 1,920 tasks of `glyphs`, under fresh weights and three common settings, none
# ended above 0.88 of its value at theta. At twice the value every step leads away from the
# minimizer. `number` allows for noise at a solved task.
MINIMIZER_RISE = Rise(share=1.0, number=0.01)
# A few steps of MAML or Reptile need not reach a minimizer. Their support loss may even rise, and
# the meta-gradient learns from that. Ten times the loss means divergence: steps that are too long
# multiply the loss again and again.
PATH_RISE = Rise(share=9.0, number=1.0)


def highest_value(initial_value: tf.Tensor, rise: Rise) -> tf.Tensor:
    """The largest value of the inner objective that does not count as divergence, `[tasks]`.

    Args:
        began: `[tasks]`, the inner objective at theta.
        rise: How far it may rise.
    """
    return initial_value + rise.share * tf.abs(initial_value) + rise.number


def checked(problem: InnerProblem, solution: InnerSolution, at_end: bool = True) -> InnerSolution:
    """Mark diverged tasks as invalid, and compute the values that the solver did not need.

    Args:
        problem: The inner problem.
        solution: What the solver found.
        at_end: Whether to evaluate the objective at phi. First-order solvers know it one step
            before, and miss a last step that diverges. Defaults to `True`.
    """
    initial_value, value = solution.initial_value, solution.value
    if initial_value is None:
        initial_value = problem.value(problem.start())
    if at_end or value is None:
        value = problem.value(solution.phi)
    # The comparison is false for NaN; infinity is not above an infinite bound, so check it too.
    valid = tf.math.is_finite(value) & (value <= highest_value(initial_value, PATH_RISE))
    return solution._replace(initial_value=initial_value, value=value, valid=solution.valid & valid)
