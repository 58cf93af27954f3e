"""Evaluate a trunk for all tasks: normalization by itself, the layers between as one network.

No task changes the weights of a trunk, and its gradient is taken once a meta-step. That allows a
fused kernel for the normalization, which takes a quarter of the time of TensorFlow's elementary
operations; vectorized over tasks, it would transpose its inputs and lose more than it gains. It
serves float32 with the statistics of all examples, for a number of tasks that is known when the
graph is built, and layers of the network itself, not of a model inside it.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import has_mask
from keras_imaml._compat.keras_graph import nodes_of, replayed, structure_of
from keras_imaml._compat.random_streams import RandomStreams
from keras_imaml.batching.task_network import TaskNetwork, traced_when_eager
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization, normalizes_by_batch
from keras_imaml.meta_parameters.parameters import Parameters


class _Stage(NamedTuple):
    """Calls of a trunk that are evaluated together; tensors are known by their `id`."""

    network: TaskNetwork
    inputs: list[int]
    outputs: list[int]
    normalization: TaskBatchNormalization | None


class TrunkNetwork:
    """Evaluate the part of a network that no task changes, on the examples of all tasks.

    Args:
        model: The trunk, a functional model with a list of outputs.
        parameters: The split of the whole network's weights.
        streams: As for `TaskNetwork`. Defaults to `None`.
    """

    def __init__(
        self, model: keras.Model, parameters: Parameters, streams: RandomStreams | None = None
    ) -> None:
        streams = streams or RandomStreams()
        self.normalizes_by_batch = normalizes_by_batch(model)
        # Keras brings what it is given into the structure, ranks and dtypes of the inputs.
        start = keras.Model(structure_of(model, "input"), model.inputs)
        self._start = TaskNetwork(start, parameters, streams)
        self._inputs = [id(tensor) for tensor in model.inputs]
        self._outputs = [id(tensor) for tensor in model.outputs]
        self._stages = _stages(model, parameters, streams)
        self._evaluate = traced_when_eager(self._by_stages)

    def __call__(
        self,
        x: Any,
        training: bool,
        support_rows: int | tf.Tensor | None = None,
        numbers: tf.Tensor | None = None,
        counted: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """The features, each `[tasks, examples, ...]`.

        Args:
            x: Inputs, each `[tasks, examples, ...]`.
            training: The `training` flag for the layers.
            support_rows: The number of leading examples that give the statistics of
                `TaskBatchNormalization`. `None`: all of them. Defaults to `None`.
            numbers: As for `TaskNetwork`. Defaults to `None`.
            counted: As for `TaskNetwork`. Defaults to `None`.
        """
        return self._evaluate(x, training, support_rows, numbers, counted)

    def _by_stages(
        self,
        x: Any,
        training: bool,
        support_rows: int | tf.Tensor | None,
        numbers: tf.Tensor | None,
        counted: tf.Tensor | None,
    ) -> list[tf.Tensor]:
        start = tf.nest.flatten(self._start(None, x, training).outputs)
        values = dict(zip(self._inputs, start, strict=True))
        for stage in self._stages:
            inputs = [values[key] for key in stage.inputs]
            normalization = stage.normalization
            of_all = support_rows is None and counted is None
            if normalization and of_all and normalization.fuses(inputs[0]):
                outputs = [normalization.fused(inputs[0])]
            else:
                evaluation = stage.network(None, inputs, training, support_rows, numbers, counted)
                outputs = tf.nest.flatten(evaluation.outputs)
            values.update(zip(stage.outputs, outputs, strict=True))
        return [values[key] for key in self._outputs]


def _stages(model: keras.Model, parameters: Parameters, streams: RandomStreams) -> list[_Stage]:
    """Each call of a `TaskBatchNormalization`, and the stretches of other calls between them.

    All calls together where there are masks, which do not pass from one stage to the next.
    """
    nodes = nodes_of(model) or ()
    tensors = [tensor for node in nodes for tensor in node.outputs]
    masked = any(has_mask(tensor) for tensor in tensors)

    def apart(node: Any) -> bool:
        return isinstance(node.operation, TaskBatchNormalization) and not masked

    groups: list[list[Any]] = []
    for node in nodes:
        if groups and not apart(node) and not apart(groups[-1][0]):
            groups[-1].append(node)
        else:
            groups.append([node])
    stages: list[_Stage] = []
    needed = {id(tensor) for tensor in model.outputs}
    for group in reversed(groups):
        outputs_of_group = {id(tensor): tensor for node in group for tensor in node.outputs}
        taken = {id(x): x for node in group for x in node.arguments.keras_tensors}
        inputs = {key: x for key, x in taken.items() if key not in outputs_of_group}
        outputs = {key: x for key, x in outputs_of_group.items() if key in needed}
        needed |= set(inputs)
        network = replayed(group, list(inputs.values()), list(outputs.values()))
        stages.append(
            _Stage(
                TaskNetwork(network, parameters, streams),
                list(inputs),
                list(outputs),
                group[0].operation if apart(group[0]) else None,
            )
        )
    return stages[::-1]
