"""The path of the inner steps, differentiated: what MAML needs and iMAML does without.

A path starts at one theta for each task, `start [tasks, size]`, so that what a bad task does to its
own derivative stays with it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import norm
from keras_imaml.inner import GradientDescent, InnerSolution
from keras_imaml.inner.descent import ended
from keras_imaml.objectives.inner_problem import InnerProblem

Problem = Callable[[tf.Tensor], InnerProblem]
"""Builds the inner problem from `theta [tasks, size]` and the current meta-parameters."""


class Path(NamedTuple):
    """Adapted weights, and how they depend on what the path began with.

    Attributes:
        solution: The end of the path.
        pull_back: `(v, variables) -> (d<phi, v>/d start, d<phi, v>/d variables)`, for
            `v [tasks, size]`: of the shape of v, and one tensor (or None) for each variable. To be
            called once.
    """

    solution: InnerSolution
    pull_back: Callable[[tf.Tensor, Sequence[Any]], tuple[tf.Tensor, list[Any]]]


def first_order(problem: Problem, start: tf.Tensor, solver: GradientDescent) -> Path:
    """Take the path for a shift of theta: `d phi / d start = I`, and nothing else."""
    solution = solver.minimize(problem(start), start)
    return Path(solution, lambda v, variables: (v, [None] * len(variables)))


def taped(problem: Problem, start: tf.Tensor, solver: GradientDescent) -> Path:
    """Keep all that the steps computed: the memory of `steps` networks."""
    # Not a persistent tape: for one, TensorFlow builds derivatives of any order of every loop.
    with tf.GradientTape() as tape:
        tape.watch(start)
        began = problem(start)
        began.watch(tape)
        solution = solver.minimize(began, start)

    def pull_back(v: tf.Tensor, variables: Sequence[Any]) -> tuple[tf.Tensor, list[Any]]:
        for_start, *rest = tape.gradient(solution.phi, [start, *variables], output_gradients=v)
        return for_start, rest

    return Path(solution, pull_back)


def recomputed(problem: Problem, start: tf.Tensor, solver: GradientDescent) -> Path:
    """Keep where the steps went, and take each once more on the way back.

    The memory of one network and of `steps` copies of phi (and of the velocity, with momentum),
    for one more evaluation of every step.

    References:
        Chen et al., 2016: Training Deep Nets with Sublinear Memory Cost.
    """
    began = problem(start)
    rule = solver.rule(began)
    places = (start, *rule.begin)
    arrays = [tf.TensorArray(p.dtype, solver.steps, element_shape=p.shape) for p in places]

    def forth(
        number: tf.Tensor,
        first: Any,
        last: Any,
        initial: Any,
        value: Any,
        arrays: list,
        places: tuple,
    ) -> tuple:
        arrays = [a.write(number, p) for a, p in zip(arrays, places, strict=True)]
        support, gradient, change, *state = rule.step(began, number, *places)
        size, value = norm(gradient), rule.seen(began, support, *places)
        first = tf.where(tf.equal(number, 0), size, first)
        initial = tf.where(tf.equal(number, 0), value, initial)
        return number + 1, first, size, initial, value, arrays, (places[0] + change, *state)

    unknown = tf.zeros(tf.shape(start)[:1], start.dtype)
    _, first, last, initial, value, arrays, (phi, *_) = tf.while_loop(
        lambda number, *_: number < solver.steps,
        forth,
        (tf.constant(0), unknown, unknown, unknown, unknown, arrays, places),
        parallel_iterations=1,
    )
    spent = tf.fill(tf.shape(start)[:1], solver.steps)

    def pull_back(v: tf.Tensor, variables: Sequence[Any]) -> tuple[tf.Tensor, list[Any]]:
        def back(number: tf.Tensor, bars: tuple, sums: list) -> tuple:
            # Copies: where the path began, eager execution reads `start` itself.
            here = tuple(tf.identity(array.read(number)) for array in arrays)
            with tf.GradientTape() as tape:
                tape.watch((here, start))
                again = problem(start)
                again.watch(tape)
                _, _, change, *state = solver.rule(again).step(again, number, *here)
                after = [here[0] + change, *state]
            sources = [*here, start, *variables]
            parts = [
                tf.zeros_like(source) if part is None else tf.convert_to_tensor(part)
                for source, part in zip(
                    sources,
                    tape.gradient(after, sources, output_gradients=list(bars)),
                    strict=True,
                )
            ]
            bars, more = tuple(parts[: len(here)]), parts[len(here) :]
            return number - 1, bars, [a + b for a, b in zip(sums, more, strict=True)]

        zeros = [tf.zeros_like(variable) for variable in variables]
        _, bars, (for_start, *others) = tf.while_loop(
            lambda number, *_: number >= 0,
            back,
            (
                tf.constant(solver.steps - 1),
                (v, *map(tf.zeros_like, rule.begin)),
                [tf.zeros_like(v), *zeros],
            ),
            parallel_iterations=1,
        )
        return for_start + bars[0], others

    value = value if solver.steps > 1 else None
    return Path(ended(phi, spent, first, last, initial, value), pull_back)
