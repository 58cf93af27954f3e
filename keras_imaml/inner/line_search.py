"""Backtracking line search on all tasks at once."""

from typing import NamedTuple

import tensorflow as tf

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

    def body(size: tf.Tensor, *loop: tf.Tensor) -> tuple:
        step = Step(*loop)
        searching = active & ~step.accepted
        candidate = phi + size * direction
        candidate_value = problem.value(candidate)
        accepted = searching & (candidate_value <= value + SUFFICIENT_DECREASE * size * slope)
        return (
            size / 2,
            select(accepted, candidate, step.phi),
            tf.where(accepted, candidate_value, step.value),
            step.accepted | accepted,
            step.evaluations + tf.cast(searching, tf.int32),
        )

    tasks = tf.shape(active)
    _, *end = tf.while_loop(
        lambda size, *loop: tf.reduce_any(active & ~Step(*loop).accepted),
        body,
        (
            tf.ones([], phi.dtype),
            phi,
            value,
            tf.zeros(tasks, tf.bool),
            tf.zeros(tasks, tf.int32),
        ),
        maximum_iterations=halvings + 1,
        parallel_iterations=1,
    )
    return Step(*end)
