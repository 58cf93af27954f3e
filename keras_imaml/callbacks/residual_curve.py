"""The residual of a linear solver as a function of its steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_imaml.linear.solution import LinearSolver, Operator


def step_counts(linear: Any) -> list[int]:
    """Step counts from 1 to twice the `max_steps` of a solver; none if it has no such setting.

    They are few: each is a loop in the graph, which takes time to build.
    """
    max_steps = getattr(linear, "max_steps", None)
    return [] if max_steps is None else sorted({1, max_steps, 2 * max_steps})


def residual_curve(
    linear: LinearSolver,
    operator: Operator,
    rhs: tf.Tensor,
    preconditioner: Operator | None,
    steps: Sequence[int],
) -> tf.Tensor:
    """The relative residual that a solver reaches after each of several numbers of steps.

    Args:
        linear: A solver with `max_steps`, such as `keras_imaml.linear.ConjugateGradient`.
        operator: See `LinearSolver.solve`.
        rhs: See `LinearSolver.solve`.
        preconditioner: See `LinearSolver.solve`.
        steps: Values of `max_steps`. Each solve starts from the beginning.

    Returns:
        `[len(steps), tasks]`, `||v - A w|| / ||v||`.
    """
    solvers = [dataclasses.replace(linear, max_steps=count) for count in steps]  # type: ignore
    return tf.stack([s.solve(operator, rhs, preconditioner).residual for s in solvers])
