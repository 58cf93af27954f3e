"""What an inner solver returns, and the interface of all of them."""

from typing import NamedTuple, Protocol

import tensorflow as tf

from keras_imaml.objective import InnerProblem


class InnerSolution(NamedTuple):
    """Adapted weights of a meta-batch.

    Attributes:
        phi: `[tasks, size]`, near the minimiser of the inner objective.
        steps: `[tasks]`, int32, iterations that were spent on the task.
        initial_gradient_norm: `[tasks]`, `||grad G(theta)||`, against which residuals are read.
        sound: `[tasks]`, bool, tasks whose weights are finite.
    """

    phi: tf.Tensor
    steps: tf.Tensor
    initial_gradient_norm: tf.Tensor
    sound: tf.Tensor


class InnerSolver(Protocol):
    """The interface of every inner solver of this package."""

    def minimize(self, problem: InnerProblem) -> InnerSolution:
        """Minimise `problem.value` for each task, from `problem.start()`."""
        ...
