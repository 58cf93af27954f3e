"""The loop of all first-order inner solvers. Tasks run in step, and each stops by itself."""

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
        look: `(phi, *state) -> phi`, the point at which the gradient is taken.
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

    def objective_at_step(
        self, problem: InnerProblem, support: tf.Tensor, phi: tf.Tensor, *state: tf.Tensor
    ) -> tf.Tensor:
        """The inner objective at the point where a step from `phi` takes its gradient."""
        point = tf.stop_gradient(self.look(phi, *state))
        return problem.with_proximal_term(support, point)


def descend(
    problem: InnerProblem, start: tf.Tensor, rule: Rule, steps: int, tolerance: float
) -> InnerSolution:
    """Repeat `phi <- phi + change`. The path is not stored: memory does not grow with `steps`.

    Args:
        problem: The inner problem.
        start: `[tasks, size]`.
        rule: The method.
        steps: Maximum number of iterations; 0 stays at the start.
        tolerance: A task stops when `||grad G||` has fallen below this share of its first value;
            0 runs all steps.
    """
    if isinstance(steps, int) and not steps:
        return at_start(problem, start)
    tasks = tf.shape(start)[:1]

    def body(
        step: tf.Tensor,
        phi: tf.Tensor,
        active: tf.Tensor,
        steps_taken: tf.Tensor,
        initial_norm: tf.Tensor,
        final_norm: tf.Tensor,
        initial_value: tf.Tensor,
        value: tf.Tensor,
        *state: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        support, gradient, change, *state_after = rule.step(problem, step, phi, *state)
        # Without a tolerance only the first and the last norm and value are used.
        evaluates = tf.equal(step, 0) | tf.equal(step, steps - 1) | bool(tolerance)
        # Only the path is differentiated. A gradient through the condition would be more than
        # useless: TensorFlow's memory optimizer breaks sums of gradients around it.
        observed = tuple(tf.stop_gradient(x) for x in (gradient, support, phi, *state))
        gradient_norm, objective = tf.cond(
            evaluates,
            lambda: (
                norm(observed[0]),
                tf.stop_gradient(rule.objective_at_step(problem, *observed[1:])),
            ),
            lambda: (final_norm, value),
        )
        initial_value = tf.where(tf.equal(step, 0), objective, initial_value)
        value = tf.where(active, objective, value)
        initial_norm = tf.where(tf.equal(step, 0), gradient_norm, initial_norm)
        final_norm = tf.where(active, gradient_norm, final_norm)
        if tolerance:
            active &= gradient_norm > tolerance * initial_norm
            change = select(active, change, tf.zeros_like(change))
        steps_taken += tf.cast(active, tf.int32)
        return (
            step + 1,
            phi + change,
            active,
            steps_taken,
            initial_norm,
            final_norm,
            initial_value,
            value,
            *state_after,
        )

    zeros: Any = tf.zeros(tasks, start.dtype)
    _, phi, _, steps_taken, initial_norm, final_norm, initial_value, value, *_ = tf.while_loop(
        lambda step, phi, active, *_: tf.reduce_any(active),
        body,
        (
            tf.constant(0),
            start,
            tf.ones(tasks, tf.bool),
            tf.zeros(tasks, tf.int32),
            zeros,
            zeros,
            zeros,
            zeros,
            *rule.begin,
        ),
        maximum_iterations=steps,
        parallel_iterations=1,
    )
    known = isinstance(steps, int) and steps > 1
    return descent_solution(
        phi, steps_taken, initial_norm, final_norm, initial_value, value if known else None
    )


def at_start(problem: InnerProblem, start: tf.Tensor) -> InnerSolution:
    """The solution without a step: a baseline that does not adapt."""
    support, gradient = problem.support_and_gradient(start)
    value, size = problem.with_proximal_term(support, start), norm(gradient)
    none = tf.zeros(tf.shape(start)[:1], tf.int32)
    observed = (tf.stop_gradient(x) for x in (size, value))  # only the path is differentiated
    size, value = observed
    return descent_solution(tf.identity(start), none, size, size, value, value)


def descent_solution(
    phi: tf.Tensor,
    steps_taken: tf.Tensor,
    initial_norm: tf.Tensor,
    final_norm: tf.Tensor,
    initial_value: tf.Tensor,
    value: tf.Tensor | None,
) -> InnerSolution:
    """The `InnerSolution` of a descent. A single step evaluates theta alone and has no value."""
    return InnerSolution(
        phi,
        steps_taken,
        steps_taken,
        initial_norm,
        final_norm,
        finite(phi),
        initial_value=initial_value,
        value=value,
    )
