"""The interface between a learner and the algorithms for the meta-gradient."""

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._utils.configurable import ShownAsCall
from keras_imaml._utils.keras_losses import check_second_derivative
from keras_imaml._utils.vectors import select
from keras_imaml.distribution.replicas import mean_over_tasks
from keras_imaml.inner import InnerSolution, InnerSolver
from keras_imaml.inner.divergence import checked
from keras_imaml.inner.gradient_descent import STRONGLY_CONVEX, GradientDescent
from keras_imaml.meta_parameters.learning_rate import LearningRate
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.meta_parameters.positive import PositiveParameter
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective


class MetaGradient(NamedTuple):
    """The outer level of one meta-batch.

    Attributes:
        sums: The gradient of the sum of the query losses of the valid tasks, one (or None) per
            variable. `gradients` has their means.
        per_task: `[tasks, size]`, the meta-gradient for theta of each task; None if the
            meta-batch was split.
        query_losses: `[tasks]`.
        query_outputs: The network's outputs on the query sets after adaptation.
        valid: `[tasks]`, bool: tasks without NaN or infinity, whose inner loop has not diverged.
            The others contribute nothing.
        figures: `[tasks, ...]` each, by name, for the logs. `diagnostics` has their means.
    """

    sums: list[Any]
    per_task: tf.Tensor | None
    query_losses: tf.Tensor
    query_outputs: Any
    valid: tf.Tensor
    figures: dict[str, tf.Tensor]

    @property
    def count(self) -> tf.Tensor:
        """The number of valid tasks, a scalar."""
        return tf.reduce_sum(tf.cast(self.valid, tf.float32))

    @property
    def gradients(self) -> list[Any]:
        """The gradient of the mean query loss of the valid tasks (algorithm 1 of the paper)."""
        return mean_over_tasks(self.sums, self.count)

    @property
    def diagnostics(self) -> dict[str, tf.Tensor]:
        """The mean of each of `figures` over the valid tasks."""
        return {name: masked_mean(values, self.valid) for name, values in self.figures.items()}


class Algorithm(ShownAsCall, keras.layers.Layer):
    """Base class of algorithms, which adapt to tasks and compute the meta-gradient.

    An algorithm is a Keras layer so that the variables it owns (a learned proximal strength, a
    learned step size) train and save with the learner. Subclasses set `inner`, give the `strength`
    of the proximal term, and write `meta_gradient`.
    """

    diagnostics: tuple[str, ...] = ()
    """Names of the figures that `meta_gradient` reports."""
    joins_examples = False
    """Whether training adapts to support and query examples in one set."""
    evaluates_end = False
    """Whether `meta_gradient` itself looks at the inner objective at the end of the inner loop."""
    outer_penalties = False
    """Whether penalties of the network count in the query loss, unless `compile` says otherwise."""
    adapts_to_queries = False
    """Whether tasks also adapt to the inputs of their query sets."""
    inner: InnerSolver

    @property
    def in_use(self) -> bool:
        """Whether a learner uses it. It then holds the state of one network."""
        return hasattr(self, "parameters")

    @property
    def differentiates_twice(self) -> bool:
        """Whether training takes second derivatives of the support loss."""
        return getattr(self.inner, "differentiates_twice", False)

    def __setattr__(self, name: str, value: Any) -> None:
        if "parameters" in self.__dict__ and name in inspect.signature(type(self)).parameters:
            raise AttributeError(
                f"`{name}` of a {type(self).__name__} in use cannot be set: its learner has graphs "
                "that would not see it. Make another learner of the same network, such as "
                "keras_imaml.MetaLearner(learner.model, keras_imaml.IMAML(...))."
            )
        super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict) -> "Algorithm":
        """An algorithm for another learner, with what this one has learned."""
        twin = type(self).from_config(self.get_config())
        for name, value in vars(self).items():
            if isinstance(value, PositiveParameter) and name != "learning_rate":
                setattr(twin, name, copy.deepcopy(value, memo))
        rate = getattr(self.inner, "learning_rate", None)
        if isinstance(rate, LearningRate):
            rate = copy.deepcopy(rate, memo)
            twin.inner = dataclasses.replace(twin.inner, learning_rate=rate)
        memo[id(self)] = twin
        return twin

    def check_loss(self, loss: Any) -> None:
        """Refuse a loss that the algorithm cannot work with, by a `ValueError`."""
        if self.differentiates_twice:
            check_second_derivative(loss)

    def check_learned_loss(self) -> None:
        """Refuse to train a learned adaptation loss, by a `ValueError`."""

    def prepare(self, parameters: Parameters) -> None:
        """Create the variables that depend on the network; the learner calls this once."""
        rate = getattr(self.inner, "learning_rate", None)
        if isinstance(rate, LearningRate):
            self.learning_rate = rate  # Keras then finds its variables
            rate.prepare(parameters)
        self.parameters = parameters
        self.built = True

    def check_follows(self, parameters: Parameters) -> None:
        """Refuse another split of the network's weights than it was prepared for.

        Raises:
            ValueError: If it holds a number for each layer or weight that adapts.
        """
        for layer in all_layers(self):
            if isinstance(layer, PositiveParameter):
                layer.check_follows(parameters)

    def strength(self) -> tf.Tensor:
        """lambda of the inner objective: a scalar or `[size]`."""
        raise NotImplementedError

    def inner_problem(self, objective: TaskObjective) -> InnerProblem:
        """The inner objective at the current meta-parameters."""
        return InnerProblem(objective, self.parameters.theta(), self.strength())

    def adapt(self, objective: TaskObjective) -> InnerSolution:
        """Solve the inner problem of every task; diverged tasks stay at theta."""
        problem = self.inner_problem(objective)
        solution = self.inner.minimize(problem)
        at_end = not (self.evaluates_end and objective.training)
        solution = checked(problem, solution, at_end)
        return solution._replace(phi=select(solution.valid, solution.phi, problem.start()))

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """Adapt to every task, and differentiate the sum of the query losses.

        Args:
            objective: The losses of the meta-batch.
            variables: What to differentiate for: the network's trainable variables and the
                algorithm's own.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The inverse of `get_config`."""
        return cls(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )

    def _check_inner(self, proximal: bool, learns_rate: bool) -> None:
        """Refuse an invalid inner solver, or settings that this algorithm does not use."""
        if isinstance(self.inner, type) or not hasattr(self.inner, "minimize"):
            raise ValueError(
                "Invalid value for `inner`. Expected an inner solver such as keras_imaml.inner."
                f"GradientDescent(). Received: inner={self.inner!r}"
            )
        if not proximal and getattr(self.inner, "momentum", None) == STRONGLY_CONVEX:
            raise ValueError(
                f"Invalid value for `inner`. Expected a number as `momentum`: {STRONGLY_CONVEX!r} "
                "takes the convexity from a proximal term, and the inner objective has none. "
                f"Received: inner={self.inner!r}"
            )
        rate = getattr(self.inner, "learning_rate", None)
        if isinstance(rate, LearningRate) and rate.learned and not learns_rate:
            raise ValueError(
                "Invalid value for `inner`. Expected a `LearningRate` with learned=False: only "
                "keras_imaml.MAML with first_order=False differentiates the inner steps, on which "
                f"the step size acts. Received: inner={self.inner!r}"
            )

    def _check_stable(self, strength: float | Mapping[str, float]) -> None:
        """Refuse a step size with which the proximal term alone makes the inner loop diverge."""
        if isinstance(self.inner, GradientDescent):
            largest = max(strength.values()) if isinstance(strength, Mapping) else strength
            self.inner.check_stable(largest)


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean of `values [tasks, ...]` over the tasks in `mask`; 0 without any."""
    count = tf.reduce_sum(tf.cast(mask, values.dtype))
    more_axes = len(values.shape) - 1
    mask = tf.reshape(mask, [-1, *[1] * more_axes]) if more_axes else mask
    values = tf.where(mask, values, tf.zeros_like(values))
    return tf.math.divide_no_nan(tf.reduce_sum(values, axis=0), count)


def add_gradients(a: Any, b: Any) -> Any:
    """The sum of two gradients of one variable, either of which may be None."""
    if a is None or b is None:
        return b if a is None else a
    return a + b
