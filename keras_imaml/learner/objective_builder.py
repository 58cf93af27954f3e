"""Makes objectives of data: it owns the networks, the loss and the checks of one learner."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.random_streams import RandomStreams
from keras_imaml._utils.structures import as_tensors
from keras_imaml.algorithms import Algorithm
from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.batching.layer_checks import check_layers
from keras_imaml.batching.trunk import split
from keras_imaml.batching.trunk_network import TrunkNetwork
from keras_imaml.distribution import replicas
from keras_imaml.learner.classes_of_tasks import classes_of_tasks, kind_of_labels
from keras_imaml.learner.input_checks import (
    check_element,
    check_shapes,
    check_takes_steps,
    check_weighted,
)
from keras_imaml.learner.level_loss import LevelLoss
from keras_imaml.learner.loss_variables import variables_of
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.after_trunk import after_trunk
from keras_imaml.objectives.learned_loss import LearnedLoss
from keras_imaml.objectives.task_objective import NetworkAndLoss, TaskObjective
from keras_imaml.objectives.tasks import Tasks


class ObjectiveBuilder:
    """Turns an element of the data into the support and query losses of its tasks.

    Args:
        model: The network that adapts.
        adapts_by: What is evaluated on support sets: `model`, or what a learned loss reads.
        parameters: The parts of the weights.
        algorithm: How tasks adapt.
        learned_loss: By which tasks adapt, or None for the loss of `compile`.
        streams: The random draws of layers.
    """

    def __init__(
        self,
        model: keras.Model,
        adapts_by: keras.Model,
        parameters: Parameters,
        algorithm: Algorithm,
        learned_loss: LearnedLoss | None,
        streams: RandomStreams,
    ) -> None:
        self.model = model
        self.parameters = parameters
        self.learned_loss = learned_loss
        self.adapts_by = adapts_by
        self._algorithm = algorithm
        self._streams = streams
        self._make_networks()
        self.set_losses(LevelLoss(None, None, None))

    def follow_trainable(self) -> None:
        """Let weights that were frozen or unfrozen since change their part."""
        for network in (self.model, self.adapts_by):
            check_layers(network)
        if self.parameters.split_anew(self._algorithm.check_follows):
            self._make_networks()

    def set_losses(
        self,
        outer: LevelLoss,
        inner: LevelLoss | None = None,
        outer_penalties: bool = False,
    ) -> None:
        """Take the losses of `compile`, and forget what was traced with those before.

        Args:
            outer: The loss of the query set.
            inner: That of the support set. Defaults to `None`: the same.
            outer_penalties: Whether penalties of the network count in the outer objective too.
                Defaults to `False`.
        """
        self.outer_loss = outer
        self.inner_loss = inner or outer
        counts_all = self.learned_loss is not None or outer.given is None
        self._labels = None if counts_all else kind_of_labels(self.model, outer.given)
        if inner and kind_of_labels(self.model, inner.given) != self._labels:
            self._labels = None
        known = {id(v) for v in (*self.model.variables, *self.adapts_by.variables)}
        held = variables_of(inner.given) if inner else []
        self.loss_variables = [v for v in held if id(v) not in known]
        self.outer_penalties = outer_penalties
        dtype, parameters = self.parameters.dtype, self.parameters
        of_queries = TaskLoss(outer, dtype, parameters)
        if self.learned_loss:
            of_support = TaskLoss(self._learned_loss_of_one, dtype, parameters)
        elif inner:
            of_support = TaskLoss(inner, dtype, parameters, self.loss_variables)
        else:
            of_support = of_queries
        read_twice = {id(v) for v in variables_of(outer.given)} if inner else set()
        self._levels = (
            NetworkAndLoss(self._inner_network, of_support, self.trunk),
            NetworkAndLoss(
                self._outer_network,
                of_queries,
                self.trunk,
                outer_penalties,
                [v for v in self.loss_variables if id(v) in read_twice],
            ),
        )

    def objective(
        self, data: Any, training: bool, transductive: bool, first: tf.Tensor | int = 0
    ) -> TaskObjective:
        """The support and query losses of one element of the data, as functions of `phi`.

        Args:
            data: The element.
            training: The `training` flag for the layers.
            transductive: Whether layers normalize a query set by its own statistics.
            first: The number of its first task in the meta-batch of all replicas. Defaults to `0`.
        """
        support, query, steps = self._checked(data)
        return self._of_checked(support, query, steps, training, transductive, first)

    def of_replica(
        self, data: Any, training: bool, transductive: bool
    ) -> tuple[TaskObjective, tf.Tensor]:
        """The objective of what a replica gets, which may be no task at all, and which are real."""
        (support, query, steps), real = replicas.pad_empty_batch(self._checked(data))
        first = replicas.tasks_before(tf.reduce_sum(tf.cast(real, tf.int32)))
        objective = self._of_checked(support, query, steps, training, transductive, first)
        valid = objective.tasks.valid & real
        return objective.on(objective.tasks._replace(valid=valid)), real

    def single(
        self, support_x: Any, support_y: Any, query_x: Any, transductive: bool, weights: Any = ()
    ) -> TaskObjective:
        """The objective of one task without a task axis, behind the trunk."""
        support = (
            as_tensors(support_x, "support_x"),
            as_tensors(support_y, "support_y"),
            as_tensors(weights, "sample_weight"),
        )
        query = (as_tensors(query_x, "query_x"), (), ())
        support, query = tf.nest.map_structure(lambda x: x[None], (support, query))
        self.parameters.check_unchanged()
        check_shapes(self.model, support, query)
        tasks = self._tasks(support, query)
        return after_trunk(TaskObjective(*self._levels, tasks, False, transductive))

    def classes_of(self, labels: Any, weights: Any) -> int | None:
        """The number of classes of one task, from its labels; None: those of the network."""
        if self._labels is None:
            return None
        weights = () if weights is None else tf.convert_to_tensor(weights)[None]
        known = [(tf.convert_to_tensor(labels)[None], weights)]
        return int(classes_of_tasks(self._labels, known)[0])

    def _of_checked(
        self,
        support: tuple,
        query: tuple,
        steps: Any,
        training: bool,
        transductive: bool,
        first: Any,
    ) -> TaskObjective:
        self.parameters.check_unchanged()
        tasks = self._tasks(support, query)
        tasks = tasks._replace(numbers=first + tf.range(tasks.count))
        if tf.is_tensor(steps):
            check_takes_steps(self._algorithm.inner)
            tasks = tasks._replace(steps=tf.cast(steps, tf.int32))
        return TaskObjective(*self._levels, tasks, training, transductive)

    def _tasks(self, support: tuple, query: tuple) -> Tasks:
        """The meta-batch. If one set has weights of examples, those of the other are ones."""
        sets = []
        weighted = tf.is_tensor(support[2]) or tf.is_tensor(query[2])
        if weighted:
            check_weighted(self.model)
        for x, _, weights in (support, query):
            if tf.is_tensor(weights):
                weights = tf.cast(weights, self.parameters.dtype)
            elif weighted and tf.nest.flatten(x):
                weights = tf.ones(tf.shape(tf.nest.flatten(x)[0])[:2], self.parameters.dtype)
            sets.append(weights)
        labels = [(y, weights) for (_, y, _), weights in zip((support, query), sets, strict=True)]
        classes = classes_of_tasks(self._labels, labels) if self._labels else ()
        return Tasks(*support[:2], *query[:2], *sets)._replace(classes=classes)

    def _checked(self, data: Any) -> Any:
        support, query, steps = as_tensors(check_element(data))  # eager mode brings arrays
        check_shapes(self.model, support, query, steps)
        return support, query, steps

    def _make_networks(self) -> None:
        # A joint set is normalized as one, and a learned loss reads activations of the trunk.
        model, parameters, streams = self.model, self.parameters, self._streams
        optional = any(getattr(x, "optional", False) for x in getattr(model, "inputs", None) or ())
        undivided = self.learned_loss or self._algorithm.joins_examples or optional
        parts = None if undivided else split(model, parameters)
        self.trunk = parts and TrunkNetwork(parts.trunk, parameters, streams)
        self._outer_network = TaskNetwork(parts.remainder if parts else model, parameters, streams)
        self._inner_network = (
            TaskNetwork(self.adapts_by, parameters, streams)
            if self.learned_loss
            else self._outer_network
        )

    def loss_of_support(self, y: Any, outputs: Any) -> tf.Tensor:
        """The loss by which one task adapts, from its labels and the outputs of `adapts_by`."""
        loss = self._learned_loss_of_one if self.learned_loss else self.inner_loss
        return loss(y, outputs)

    def _learned_loss_of_one(
        self, y: Any, residual: Any, weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        del y  # labels are not looked at
        assert self.learned_loss is not None
        return self.learned_loss.value(residual, weights)
