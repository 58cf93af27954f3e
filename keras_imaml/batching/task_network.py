"""One network under the weights of many tasks at once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat import resizing as resizing  # registers itself
from keras_imaml._compat.grouped_convolution import grouped_convolutions, static_or_dynamic_shape
from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._compat.lora import low_rank_products
from keras_imaml._compat.random_operations import draws_of_each_task
from keras_imaml._compat.random_streams import RandomStreams, draws_refused
from keras_imaml._compat.reads import reads_watched
from keras_imaml._compat.recurrence import unrolled_recurrence
from keras_imaml._compat.second_derivatives import exact_moments
from keras_imaml._utils.structures import with_none
from keras_imaml._utils.tracing import Traced
from keras_imaml.batching.layer_checks import check_masks
from keras_imaml.batching.layer_rules import LayerRules
from keras_imaml.batching.layer_updates import CallChecked
from keras_imaml.batching.task_map import TaskMap
from keras_imaml.batching.task_scope import TaskScope
from keras_imaml.batching.variable_reads import (
    captures_noted,
    reads_checked,
    refuse_others_in_loss,
    refuse_weights_in_loss,
)
from keras_imaml.layers.task_batch_normalization import normalizes_by_batch, statistics_of_first
from keras_imaml.meta_parameters.parameters import Parameters


class NetworkOutputs(NamedTuple):
    """What a network gives for a meta-batch.

    Attributes:
        outputs: The network's outputs, each `[tasks, examples, ...]`.
        penalty: `[tasks]`, the sum of the model's own losses (weight regularizers and the like)
            at the weights of the task.
    """

    outputs: Any
    penalty: tf.Tensor


def traced_when_eager(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run `function` as part of the graph under construction, or as a graph of its own.

    Vectorization traces what it vectorizes; executing eagerly it would do so at every call.
    """
    graph = Traced(function, reduce_retracing=True)
    return lambda *arguments: (graph if tf.executing_eagerly() else function)(*arguments)


def has_penalties(model: keras.Model) -> bool:
    """Whether the model has losses of its own: of weights, of activities, or by `add_loss`."""
    return bool(model.losses) or any(
        getattr(layer, "activity_regularizer", None) or _adds_losses(type(layer))
        for layer in all_layers(model)
    )


def _adds_losses(layer: type) -> bool:
    """Whether a method that a user wrote names `add_loss`, whose losses are there once it ran."""
    codes = (
        getattr(method, "__code__", None)
        for base in layer.__mro__
        if not base.__module__.startswith("keras.")
        for method in vars(base).values()
    )
    return any(code and "add_loss" in code.co_names for code in codes)


class TaskLoss:
    """The loss of each task of a meta-batch, from the loss of one.

    Args:
        loss: `(y_true, y_pred) -> scalar`, of the examples of one task; with their weights as a
            third argument, where tasks have some.
        dtype: Of the result.
        parameters: The split of a network's weights, of which the loss may not read those that
            adapt. Defaults to `None`: there are none.
        variables: The variables of the loss; others that TensorFlow trains are refused. Defaults
            to `None`: whatever it reads is a constant.
    """

    def __init__(
        self,
        loss: Callable[..., tf.Tensor],
        dtype: str,
        parameters: Parameters | None = None,
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        self.loss = loss
        self.dtype = dtype
        self.parameters = parameters
        self.variables = variables
        self._for_all_tasks = TaskMap()
        self._losses = traced_when_eager(self._vectorized)

    def __call__(self, y: Any, outputs: Any, weights: Any = ()) -> tf.Tensor:
        """`y`, `outputs` and `weights`, each `[tasks, examples, ...]`, give `[tasks]`."""
        return tf.cast(self._losses(y, outputs, weights), self.dtype)

    def _vectorized(self, y: Any, outputs: Any, weights: Any) -> tf.Tensor:
        parts = (y, outputs, weights) if tf.is_tensor(weights) else (y, outputs)

        def one_task(parts_of_one: tuple) -> tf.Tensor:
            watcher = reads_watched()
            with captures_noted() as captures, watcher:
                value = self.loss(*parts_of_one)
            if self.parameters is not None:
                refuse_weights_in_loss(self.parameters, captures)
                if self.variables is not None:
                    refuse_others_in_loss([*self.parameters.shared, *self.variables], watcher)
            return value

        with draws_refused("The loss"):
            return self._for_all_tasks(one_task, parts)


class TaskNetwork:
    """Evaluate a model with the weights `phi_t` on the examples `x_t`, for all tasks t together.

    Args:
        model: A built Keras model; any kind.
        parameters: The split of its weights.
        streams: What it draws random numbers from. Defaults to `None`: streams of its own.
    """

    def __init__(
        self, model: keras.Model, parameters: Parameters, streams: RandomStreams | None = None
    ) -> None:
        self.model = model
        self.parameters = parameters
        self.streams = streams or RandomStreams()
        self._number = self.streams.join()
        self.normalizes_by_batch = normalizes_by_batch(model)
        self.penalized = has_penalties(model)
        self._for_all_tasks = TaskMap([layer.name for layer in all_layers(model)])
        self._rules = None if self.penalized else LayerRules.of(model, parameters)
        self._evaluate = traced_when_eager(self._vectorized)

    def __call__(
        self,
        phi: tf.Tensor | None,
        x: Any,
        training: bool,
        support_rows: int | tf.Tensor | None = None,
        numbers: tf.Tensor | None = None,
        counted: tf.Tensor | None = None,
    ) -> NetworkOutputs:
        """Evaluate the model.

        Args:
            phi: Adapted weights, `[tasks, size]`. None: the model has none.
            x: Inputs of the model, each `[tasks, examples, ...]`.
            training: The `training` flag for the layers.
            support_rows: The number of leading examples that give the statistics of
                `TaskBatchNormalization`. `None`: all of them. Defaults to `None`.
            numbers: `[tasks]`, integers: tasks of other numbers draw other random numbers.
                Defaults to `None`: counted from 0 on.
            counted: `[tasks, examples]`, bool, in the place of `support_rows`: the examples that
                give the statistics. Defaults to `None`.
        """
        counted = counted if self.normalizes_by_batch else None
        if self._rules is None or not self._rules.serve(phi, x):
            if numbers is None:
                numbers = tf.range(static_or_dynamic_shape(tf.nest.flatten(x)[0])[0])
            return self._evaluate(phi, x, training, support_rows, numbers, counted)
        outputs = self._rules(phi, x, support_rows, counted)
        return NetworkOutputs(outputs, tf.zeros(tf.shape(x)[:1], self.parameters.dtype))

    def _vectorized(
        self,
        phi: tf.Tensor | None,
        x: Any,
        training: bool,
        support_rows: int | tf.Tensor | None,
        numbers: tf.Tensor,
        counted: tf.Tensor | None = None,
    ) -> NetworkOutputs:
        adapted = [] if phi is None else self.parameters.adapted
        shared = [*self.parameters.shared, *self.parameters.fixed]
        common = [tf.convert_to_tensor(v.value) for v in shared]

        def one_task(arguments: tuple) -> NetworkOutputs:
            weights, examples, number, *counted_row = arguments
            scope = TaskScope(
                list(zip([*adapted, *shared], [*weights, *common], strict=True)),
                collect_losses=True,
            )
            with (
                reads_checked(self.model, self.parameters, scope, adapts=phi is not None),
                CallChecked(self.model, scope),
                self.streams.of_task(number, self._number),
                exact_moments(),
                low_rank_products(),
                statistics_of_first(support_rows, *counted_row),
                unrolled_recurrence(),
            ):
                outputs = self.model(with_none(examples), training=training)
                losses = self.model.losses
            if not getattr(self.model, "outputs", None):  # subclassed: not seen before
                check_masks(self.model, outputs)
            if losses and not self.penalized:
                raise ValueError(
                    f"The network {self.model.name!r} adds losses while it is called, in a way "
                    "that could not be foreseen. Expected `self.add_loss(...)` in a method of the "
                    f"layer that adds it. Received: {len(losses)} losses"
                )
            penalty = tf.add_n(losses) if losses else tf.zeros([], self.parameters.dtype)
            return NetworkOutputs(outputs, tf.cast(penalty, self.parameters.dtype))

        per_task: tuple = ([] if phi is None else self.parameters.unravel(phi), x, numbers)
        per_task += () if counted is None else (counted,)
        if tf.nest.flatten(x)[0].shape[0] == 1:  # nothing to fold: the network as it is
            result = one_task(tf.nest.map_structure(lambda part: tf.squeeze(part, [0]), per_task))
            return tf.nest.map_structure(lambda part: tf.expand_dims(part, 0), result)
        with grouped_convolutions(), draws_of_each_task():
            return self._for_all_tasks(one_task, per_task)
