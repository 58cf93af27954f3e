"""Differentiation through the path of the inner steps, which MAML needs and iMAML avoids.

A path starts at a separate theta for each task, `start [tasks, size]`, so that an invalid task
cannot spoil the derivatives of the other tasks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import norm, select
from keras_imaml.inner import InnerSolution
from keras_imaml.inner.descent import DescentSolver, Rule, descent_solution
from keras_imaml.inner.step_counts import StepCounts
from keras_imaml.objectives.inner_problem import InnerProblem

Problem = Callable[[tf.Tensor], InnerProblem]
"""Builds the inner problem from `theta [tasks, size]` and the current meta-parameters."""


class Path(NamedTuple):
    """Adapted weights, and their derivatives with respect to the start of the path.

    Attributes:
        solution: The end of the path.
        pull_back: `(v, variables) -> (d<phi, v>/d start, d<phi, v>/d variables)`, for
            `v [tasks, size]`. Returns a tensor of the shape of v, and one tensor (or None) for
            each variable. Call it once.
    """

    solution: InnerSolution
    pull_back: Callable[[tf.Tensor, Sequence[Any]], tuple[tf.Tensor, list[Any]]]


def first_order(problem: Problem, start: tf.Tensor, solver: DescentSolver) -> Path:
    """Treat the path as a constant shift of theta: `d phi / d start = I`."""
    solution = solver.minimize(problem(start), start)
    return Path(solution, lambda v, variables: (v, [None] * len(variables)))


def taped(problem: Problem, start: tf.Tensor, solver: DescentSolver) -> Path:
    """Store the activations of all steps, which takes the memory of `steps` networks."""
    # The tape is not persistent, because TensorFlow would then prepare each loop for derivatives
    # of any order.
    with tf.GradientTape() as tape:
        tape.watch(start)
        initial_problem = problem(start)
        initial_problem.watch(tape)
        solution = solver.minimize(initial_problem, start)

    def pull_back(v: tf.Tensor, variables: Sequence[Any]) -> tuple[tf.Tensor, list[Any]]:
        for_start, *for_variables = tape.gradient(
            solution.phi, [start, *variables], output_gradients=v
        )
        return for_start, for_variables

    return Path(solution, pull_back)


def recomputed(problem: Problem, start: tf.Tensor, solver: DescentSolver) -> Path:
    """Store only the points of the path, and repeat each step on the way back.

    This takes the memory of one network and of `steps` copies of phi (with momentum or Adam, also
    of their state), at the cost of evaluating every step twice.

    References:
        Chen et al., 2016: Training Deep Nets with Sublinear Memory Cost.
    """
    initial_problem = problem(start)
    counts = StepCounts.of(initial_problem, solver.steps)
    if counts.all_zero:
        return taped(problem, start, solver)
    rule = solver.rule(initial_problem)
    point = (start, *rule.begin)
    arrays = [tf.TensorArray(p.dtype, counts.most, element_shape=p.shape) for p in point]

    def forward(
        number: tf.Tensor,
        initial_norm: Any,
        final_norm: Any,
        initial_value: Any,
        value: Any,
        arrays: list,
        point: tuple,
    ) -> tuple:
        arrays = [a.write(number, p) for a, p in zip(arrays, point, strict=True)]
        support, gradient, next_point = _next(rule, initial_problem, counts, number, point)
        size = norm(gradient)
        new_value = rule.objective_at_step(initial_problem, support, *point)
        first = tf.equal(number, 0)
        begins = counts.within(tf.fill(tf.shape(size), True), number) | first
        return (
            number + 1,
            tf.where(first, size, initial_norm),
            tf.where(begins, size, final_norm),
            tf.where(first, new_value, initial_value),
            tf.where(begins, new_value, value),
            arrays,
            next_point,
        )

    zero_norms = tf.zeros(tf.shape(start)[:1], start.dtype)
    _, initial_norm, final_norm, initial_value, value, arrays, (phi, *_) = tf.while_loop(
        lambda number, *_: number < counts.most,
        forward,
        (tf.constant(0), zero_norms, zero_norms, zero_norms, zero_norms, arrays, point),
        parallel_iterations=1,
    )
    spent = counts.of_tasks
    if spent is None:
        spent = tf.fill(tf.shape(start)[:1], solver.steps)

    def pull_back(v: tf.Tensor, variables: Sequence[Any]) -> tuple[tf.Tensor, list[Any]]:
        def backward(number: tf.Tensor, cotangents: tuple, sums: list) -> tuple:
            # Copies, because eager execution reads `start` itself at the first step.
            point = tuple(tf.identity(array.read(number)) for array in arrays)
            with tf.GradientTape() as tape:
                tape.watch((point, start))
                step_problem = problem(start)
                step_problem.watch(tape)
                step_rule = solver.rule(step_problem)
                *_, next_point = _next(step_rule, step_problem, counts, number, point)
            sources = [*point, start, *variables]
            parts = [
                tf.zeros_like(source) if part is None else tf.convert_to_tensor(part)
                for source, part in zip(
                    sources,
                    tape.gradient(list(next_point), sources, output_gradients=list(cotangents)),
                    strict=True,
                )
            ]
            cotangents, variable_parts = tuple(parts[: len(point)]), parts[len(point) :]
            return (
                number - 1,
                cotangents,
                [a + b for a, b in zip(sums, variable_parts, strict=True)],
            )

        zeros = [tf.zeros_like(variable) for variable in variables]
        _, cotangents, (for_start, *for_variables) = tf.while_loop(
            lambda number, *_: number >= 0,
            backward,
            (
                tf.convert_to_tensor(counts.most - 1),
                (v, *map(tf.zeros_like, rule.begin)),
                [tf.zeros_like(v), *zeros],
            ),
            parallel_iterations=1,
        )
        return for_start + cotangents[0], for_variables

    value = value if isinstance(counts.most, int) and counts.most > 1 else None
    return Path(
        descent_solution(phi, spent, initial_norm, final_norm, initial_value, value), pull_back
    )


def _next(
    rule: Rule, problem: InnerProblem, counts: StepCounts, number: tf.Tensor, point: tuple
) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, ...]]:
    """One step from `(phi, *state)`: support losses, the gradient, and where the step leads."""
    support, gradient, change, *state = rule.step(problem, number, *point)
    next_point = (point[0] + change, *state)
    if counts.of_tasks is not None:
        moves = number < counts.of_tasks
        next_point = tuple(select(moves, *pair) for pair in zip(next_point, point, strict=True))
    return support, gradient, next_point
