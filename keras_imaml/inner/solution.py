"""What an inner solver returns, and the interface of all of them."""

from typing import NamedTuple, Protocol

import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem


class InnerSolution(NamedTuple):
    """Adapted weights of a meta-batch.

    Attributes:
        phi: `[tasks, size]`, near the minimizer of the inner objective.
        steps: `[tasks]`, int32, iterations that were spent on the task.
        gradients: `[tasks]`, int32, what they cost in gradients of the inner objective; a product
            with the curvature counts as two, a value of the objective as a third.
        initial_gradient_norm: `[tasks]`, `||grad G(theta)||`, against which residuals are read.
        gradient_norm: `[tasks]`, `||grad G||` at the last point where the solver took a gradient;
            for first-order solvers that is one step before `phi`.
        valid: `[tasks]`, bool, tasks whose weights are finite.
        initial_value: `[tasks]`, `G(theta)`, against which a divergence is told. None of a solver
            that does not meet it on its way: it is then computed.
        value: `[tasks]`, G at the last point where the solver knew it; for first-order solvers of
            several steps that is one step before `phi`. None as above.
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
    """Gradients spent, with values of the objective at a third of one each, rounded up."""
    return gradients + (values + 2) // 3


class InnerSolver(Protocol):
    """The interface of every inner solver of this package."""

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """Minimize `problem.value` for each task.

        Args:
            problem: The inner problem.
            start: `[tasks, size]`, where to start. Defaults to `problem.start()`.
        """
        ...
