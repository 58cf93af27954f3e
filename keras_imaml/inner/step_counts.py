"""How many steps tasks take: all the same number, or each task its own."""

from typing import NamedTuple

import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem


class StepCounts(NamedTuple):
    """Numbers of steps.

    Attributes:
        most: The largest one, which bounds the loop over all tasks.
        of_tasks: `[tasks]`, int32, the number of each task; None: `most` for all.
    """

    most: int | tf.Tensor
    of_tasks: tf.Tensor | None = None

    @classmethod
    def of(cls, problem: InnerProblem, steps: int) -> "StepCounts":
        """Those that the problem asks for, or else `steps` of the solver.

        Args:
            problem: The inner problem.
            steps: The number of the solver.
        """
        if problem.steps is None:
            return cls(steps)
        # One iteration at least evaluates theta, which a task without steps reports.
        return cls(tf.maximum(tf.reduce_max(problem.steps), 1), problem.steps)

    @property
    def all_zero(self) -> bool:
        """Whether it is known that no task takes a step."""
        return self.of_tasks is None and not tf.is_tensor(self.most) and self.most == 0

    def is_last_of_some(self, step: tf.Tensor) -> tf.Tensor:
        """Whether `step` is the last one of at least one task."""
        if self.of_tasks is None:
            return tf.equal(step, self.most - 1)
        return tf.reduce_any(tf.equal(step, self.of_tasks - 1))

    def within(self, active: tf.Tensor, step: tf.Tensor | int) -> tf.Tensor:
        """The tasks of `active [tasks]`, bool, that take step number `step`, counted from 0."""
        return active if self.of_tasks is None else active & (step < self.of_tasks)

    def zero_without_steps(self, costs: tf.Tensor) -> tf.Tensor:
        """Costs `[tasks]`, with 0 for tasks without a step."""
        return costs if self.of_tasks is None else tf.where(self.of_tasks > 0, costs, 0)
