"""How the residual of a linear solver falls with its steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_imaml.linear.solution import LinearSolver, Operator


def step_counts(linear: Any) -> list[int]:
    """Numbers of steps from 1 to twice the solver's own; none if it does not count steps."""
    own = getattr(linear, "max_steps", None)
    if own is None:
        return []
    return sorted({1, 2, own, 2 * own})  # each is a loop in the graph, which takes time to build


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
        steps: Values of `max_steps`, each solved for from the start.

    Returns:
        `[len(steps), tasks]`, `||v - A w|| / ||v||`.
    """
    solvers = [dataclasses.replace(linear, max_steps=count) for count in steps]  # type: ignore
    return tf.stack([s.solve(operator, rhs, preconditioner).residual for s in solvers])
