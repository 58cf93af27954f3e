"""When an inner loop has diverged: it ends higher than it began."""

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
# only come near it: with fresh weights and a step size that trains well, one task in 160 of
# `glyphs` ends a few percent above theta, and comes back in later steps. Twice the value is
# another matter: each step then leads away. The number is for noise around a solved task.
OF_MINIMISER = Rise(share=1.0, number=0.01)
# A few steps of MAML or Reptile end where they end. Their support loss may well be higher than
# before, and the meta-gradient then learns from it. Ten times the loss is no adaptation: too long
# a step multiplies it again and again.
OF_PATH = Rise(share=9.0, number=1.0)


def highest(began: tf.Tensor, rise: Rise) -> tf.Tensor:
    """The largest value of the inner objective that is no divergence, `[tasks]`.

    Args:
        began: `[tasks]`, the inner objective at theta.
        rise: How far it may rise.
    """
    return began + rise.share * tf.abs(began) + rise.number


def checked(problem: InnerProblem, solution: InnerSolution) -> InnerSolution:
    """The solution with its values, where diverged tasks are not valid.

    Values that the solver has not met on its way are computed here.
    """
    began, value = solution.initial_value, solution.value
    if began is None:
        began = problem.value(problem.start())
    if value is None:
        value = problem.value(solution.phi)
    # Nothing is below NaN, and infinity is only below itself.
    valid = tf.math.is_finite(value) & (value <= highest(began, OF_PATH))
    return solution._replace(initial_value=began, value=value, valid=solution.valid & valid)
