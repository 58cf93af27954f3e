"""The loop that all first-order inner solvers share: all tasks in step, each with its own stop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import finite, norm, select
from keras_imaml.inner.solution import InnerSolution
from keras_imaml.objectives.inner_problem import InnerProblem


class Rule(NamedTuple):
    """A first-order method: how a step follows from the gradient and a state.

    Attributes:
        update: `(step, gradient, *state) -> (change, *state)`; phi moves by the change.
        begin: The state before the first step.
        look: `(phi, *state) ->` where the gradient is taken.
    """

    update: Callable[..., tuple]
    begin: tuple[tf.Tensor, ...] = ()
    look: Callable[..., tf.Tensor] = lambda phi, *state: phi

    def step(
        self, problem: InnerProblem, number: tf.Tensor, phi: tf.Tensor, *state: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """One step from `phi`: support losses, the gradient, the change and the next state."""
        support, gradient = problem.support_and_gradient(self.look(phi, *state))
        return support, gradient, *self.update(number, gradient, *state)

    def seen(
        self, problem: InnerProblem, support: tf.Tensor, phi: tf.Tensor, *state: tf.Tensor
    ) -> tf.Tensor:
        """The inner objective where a step from `phi` took its gradient, `[tasks]`."""
        there = tf.stop_gradient(self.look(phi, *state))
        return problem.with_proximal_term(support, there)


def descend(
    problem: InnerProblem, start: tf.Tensor, rule: Rule, steps: int, tolerance: float
) -> InnerSolution:
    """Repeat `phi <- phi + change`. Nothing of the path is kept: memory does not grow with it.

    Args:
        problem: The inner problem.
        start: `[tasks, size]`.
        rule: The method.
        steps: Iterations, at most.
        tolerance: A task stops when `||grad G||` has fallen below this share of its first value;
            0 runs all steps.
    """
    tasks = tf.shape(start)[:1]

    def body(
        step: tf.Tensor,
        phi: tf.Tensor,
        active: tf.Tensor,
        spent: tf.Tensor,
        first: tf.Tensor,
        last: tf.Tensor,
        began: tf.Tensor,
        value: tf.Tensor,
        *state: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        support, gradient, change, *state_after = rule.step(problem, step, phi, *state)
        # Without a tolerance only the first and the last norm and value are of interest.
        wanted = tf.equal(step, 0) | tf.equal(step, steps - 1) | bool(tolerance)
        size, here = tf.cond(
            wanted,
            lambda: (norm(gradient), rule.seen(problem, support, phi, *state)),
            lambda: (last, value),
        )
        began = tf.where(tf.equal(step, 0), here, began)
        value = tf.where(active, here, value)
        first = tf.where(tf.equal(step, 0), size, first)
        last = tf.where(active, size, last)
        if tolerance:
            active &= size > tolerance * first
            change = select(active, change, tf.zeros_like(change))
        spent += tf.cast(active, tf.int32)
        return step + 1, phi + change, active, spent, first, last, began, value, *state_after

    none: Any = tf.zeros(tasks, start.dtype)
    _, phi, _, spent, first, last, began, value, *_ = tf.while_loop(
        lambda step, phi, active, *_: tf.reduce_any(active),
        body,
        (
            tf.constant(0),
            start,
            tf.ones(tasks, tf.bool),
            tf.zeros(tasks, tf.int32),
            none,
            none,
            none,
            none,
            *rule.begin,
        ),
        maximum_iterations=steps,
        parallel_iterations=1,
    )
    return ended(
        phi, spent, first, last, began, value if isinstance(steps, int) and steps > 1 else None
    )


def ended(
    phi: tf.Tensor,
    spent: tf.Tensor,
    first: tf.Tensor,
    last: tf.Tensor,
    began: tf.Tensor,
    value: tf.Tensor | None,
) -> InnerSolution:
    """What came of a descent; see `InnerSolution`. A single step has seen theta alone: no value."""
    return InnerSolution(
        phi, spent, spent, first, last, finite(phi), initial_value=began, value=value
    )
