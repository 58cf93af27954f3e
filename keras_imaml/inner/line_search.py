"""Backtracking line search on all tasks at once."""

from typing import NamedTuple

import tensorflow as tf

from keras_imaml._utils.loops import while_active
from keras_imaml._utils.vectors import select
from keras_imaml.objectives.inner_problem import InnerProblem

SUFFICIENT_DECREASE = 1e-4  # the share of the predicted decrease that a step must reach (Armijo)


class Step(NamedTuple):
    """The end of a line search.

    Attributes:
        phi: `[tasks, size]`; unchanged for tasks without an acceptable step.
        value: `[tasks]`, G there.
        accepted: `[tasks]`, bool.
        evaluations: `[tasks]`, int32, number of values of G computed.
    """

    phi: tf.Tensor
    value: tf.Tensor
    accepted: tf.Tensor
    evaluations: tf.Tensor


class _Search(NamedTuple):
    size: tf.Tensor  # of the next step, as a share of the first
    phi: tf.Tensor
    value: tf.Tensor
    active: tf.Tensor  # tasks that have not accepted a step
    evaluations: tf.Tensor


def backtrack(
    problem: InnerProblem,
    phi: tf.Tensor,
    value: tf.Tensor,
    direction: tf.Tensor,
    slope: tf.Tensor,
    active: tf.Tensor,
    halvings: int,
) -> Step:
    """Halve the step along `direction` until `G(phi + t d) <= G(phi) + 1e-4 t slope`.

    Args:
        problem: The inner problem.
        phi: `[tasks, size]`, where the step starts.
        value: `[tasks]`, `G(phi)`.
        direction: `[tasks, size]`, downhill.
        slope: `[tasks]`, `grad G . direction`, negative.
        active: `[tasks]`, the tasks to search for.
        halvings: Maximum number of halvings.

    References:
        Armijo, 1966; Nocedal and Wright, 2006, algorithm 3.1.
    """

    def halve(s: _Search) -> _Search:
        candidate = phi + s.size * direction
        candidate_value = problem.value(candidate)
        accepted = s.active & (candidate_value <= value + SUFFICIENT_DECREASE * s.size * slope)
        return _Search(
            size=s.size / 2,
            phi=select(accepted, candidate, s.phi),
            value=tf.where(accepted, candidate_value, s.value),
            active=s.active & ~accepted,
            evaluations=s.evaluations + tf.cast(s.active, tf.int32),
        )

    end = while_active(
        halve,
        _Search(
            size=tf.ones([], phi.dtype),
            phi=phi,
            value=value,
            active=active,
            evaluations=tf.zeros(tf.shape(active), tf.int32),
        ),
        halvings + 1,
    )
    return Step(end.phi, end.value, active & ~end.active, end.evaluations)
