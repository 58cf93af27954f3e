"""The interface of inner solvers, and the solution that they return."""

from typing import NamedTuple, Protocol

import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem


class InnerSolution(NamedTuple):
    """Adapted weights of a meta-batch.

    Attributes:
        phi: `[tasks, size]`, near the minimizer of the inner objective.
        steps: `[tasks]`, int32, iterations spent on the task.
        gradients: `[tasks]`, int32, their cost in gradients of the inner objective. A product
            with the curvature counts as two, a value of the objective as a third.
        initial_gradient_norm: `[tasks]`, `||grad G(theta)||`, the reference of residuals.
        gradient_norm: `[tasks]`, `||grad G||` at the last point where the solver took a gradient.
            For first-order solvers that is one step before `phi`.
        valid: `[tasks]`, bool, tasks whose weights are finite.
        initial_value: `[tasks]`, `G(theta)`, the reference for detecting divergence. None if the
            solver does not need it: it is computed afterwards.
        value: `[tasks]`, G at the last point where the solver evaluated it. For first-order
            solvers of more than one step that is one step before `phi`. None as above.
    """

    phi: tf.Tensor
    steps: tf.Tensor
    gradients: tf.Tensor
    initial_gradient_norm: tf.Tensor
    gradient_norm: tf.Tensor
    valid: tf.Tensor
    initial_value: tf.Tensor | None = None
    value: tf.Tensor | None = None


def count_with_values(gradients: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The cost in gradients. A value of the objective counts as a third, rounded up."""
    return gradients + (values + 2) // 3


class InnerSolver(Protocol):
    """The interface of every inner solver of this package.

    A solver that heeds `problem.steps`, the numbers of steps of single tasks, says so by an
    attribute `steps_per_task = True`. Others are refused where an element of the data has them.
    """

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """Minimize `problem.value` for each task.

        Args:
            problem: The inner problem.
            start: `[tasks, size]`, where to start. Defaults to `problem.start()`.
        """
        ...
