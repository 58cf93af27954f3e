"""Makes objectives of data: it owns the networks, the loss and the checks of one learner."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.loss_scaling import losses_per_replica
from keras_imaml._compat.random_streams import RandomStreams
from keras_imaml._utils.outputs import targets_of_outputs
from keras_imaml._utils.structures import as_tensors, with_none
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
from keras_imaml.learner.weighted_loss import weighted_loss
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
        self.set_loss(None)

    def follow_trainable(self) -> None:
        """Let weights that were frozen or unfrozen since change their part."""
        for network in (self.model, self.adapts_by):
            check_layers(network)
        if self.parameters.split_anew(self._algorithm.check_follows):
            self._make_networks()

    def set_loss(self, compile_loss: Any, loss: Any = None) -> None:
        """Take the loss of `compile`, and forget what was traced with the one before.

        Args:
            compile_loss: Keras' `CompileLoss`, or None before `compile`.
            loss: What it was made of, for messages. Defaults to `None`.
        """
        self._compile_loss = compile_loss
        self._loss = loss
        counts_all = self.learned_loss is not None or loss is None
        self._labels = None if counts_all else kind_of_labels(self.model, loss)
        dtype = self.parameters.dtype
        supervised = TaskLoss(self._loss_of_one, dtype, self.parameters)
        learned = TaskLoss(self._learned_loss_of_one, dtype, self.parameters)
        loss = learned if self.learned_loss else supervised
        self._levels = (
            NetworkAndLoss(self._inner_network, loss, self.trunk),
            NetworkAndLoss(self._outer_network, supervised, self.trunk),
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

    def _loss_of_one(self, y: Any, outputs: Any, weights: tf.Tensor | None = None) -> tf.Tensor:
        compiled = self._compile_loss
        names = getattr(self.model, "output_names", None)
        y = targets_of_outputs(with_none(y), outputs, names, self._loss)
        if not compiled.built:
            compiled.build(y, outputs)
        # A stateless scope keeps the per-output trackers of Keras out of the inner loop.
        with keras.StatelessScope(), losses_per_replica():
            if weights is None:
                loss = compiled(y, outputs)
            else:
                loss = weighted_loss(compiled, self._loss, y, outputs, weights, names)
        if loss.shape.rank:
            raise ValueError(
                "Invalid value for `loss`. Expected one number for all examples of a task, such as "
                "their mean: a Keras loss without reduction='none'. Received: shape "
                f"{loss.shape} from {self._loss!r}"
            )
        return loss

    def inner_loss(self, y: Any, outputs: Any) -> tf.Tensor:
        """The loss by which one task adapts, from its labels and the outputs of `adapts_by`."""
        loss = self._learned_loss_of_one if self.learned_loss else self._loss_of_one
        return loss(y, outputs)

    def _learned_loss_of_one(
        self, y: Any, residual: Any, weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        del y  # labels are not looked at
        assert self.learned_loss is not None
        return self.learned_loss.value(residual, weights)
