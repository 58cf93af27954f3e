"""State that layers change while they are called: refused, by the name of the layer.

The tasks of a meta-batch are evaluated together, and several times a step, so that there is no one
new value of a running mean or a counter. A value that is left out would be an error in silence.
"""

import random
import threading
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.fallbacks import layers_of
from keras_imaml._compat.function_graphs import operations_since
from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml.batching.task_scope import TaskScope

_ASSIGNS = (  # beginnings of the kinds of operations on variables, slices of them, and tables
    *("AssignVariable", "AssignAddVariable", "AssignSubVariable"),
    *("ResourceApply", "ResourceScatter", "ResourceSparseApply", "ResourceStridedSliceAssign"),
    *("LookupTableImport", "LookupTableInsert", "LookupTableRemove"),
)
_DRAWS = {
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "RngReadAndSkip",
    "TruncatedNormal",
}


class CallChecked:
    """A context manager around a call of a model, which refuses what the call changed.

    Args:
        model: What is called.
        scope: In which it is called.
    """

    def __init__(self, model: keras.Model, scope: TaskScope) -> None:
        self._model = model
        self._scope = scope

    def __enter__(self) -> None:
        self._graph = tf.compat.v1.get_default_graph()
        self._before = len(self._graph.get_operations())
        self._python = _python_generators()

    def __exit__(self, kind: Any, *exception: object) -> None:
        if kind is not None:
            return
        if self._scope.assigned:
            variable = self._scope.assigned[0]
            raise _changes(_owner(self._model, variable), variable.path)
        after = _python_generators()
        if self._python and after and self._python != after:
            raise ValueError(
                f"The network {self._model.name!r} draws by Python's or NumPy's random numbers "
                "while it is called: they would be drawn when a graph is built, and never again. "
                "Expected keras.random with a keras.random.SeedGenerator of the layer. The layer "
                "keras.layers.AugMix draws so, too: put it into the data set, "
                "`tasks.map(...)`, instead."
            )
        names = [layer.name for layer in all_layers(self._model)]
        for operation in operations_since(self._graph, self._before):
            assigns = operation.kind.startswith(_ASSIGNS)
            if not assigns and operation.kind not in _DRAWS:
                continue
            (layer,) = layers_of([(operation.name, "")], names)
            if assigns:
                raise _changes(layer or self._model.name, operation.name)
            raise ValueError(
                f"The layer {layer or self._model.name!r} draws by an operation of TensorFlow "
                "that gives other numbers at every call, so that an inner problem would not "
                "be one function. Expected keras.random with a keras.random.SeedGenerator of "
                f"the layer, such as keras.layers.Dropout has. Received: {operation.kind}"
            )


def _python_generators() -> tuple:
    """The states of the random generators that all of a program shares.

    Nothing where there are other threads, such as those of a data set: they may draw meanwhile.
    """
    if threading.active_count() > 1:
        return ()
    _, numbers, *position = np.random.get_state()
    return random.getstate(), np.asarray(numbers).tobytes(), *position


def check_stateless(model: keras.Model) -> None:
    """Refuse layers of which it is known beforehand that they change state.

    Raises:
        ValueError: With the name of the layer.
    """
    for layer in all_layers(model):
        if getattr(layer, "stateful", False):
            raise _changes(layer.path, "the states of a recurrent layer with stateful=True")


def _changes(layer: str, change: str) -> ValueError:
    return ValueError(
        f"The layer {layer!r} changes state while it is called. Tasks are evaluated together and "
        "several times a step, so that there is no one new value. Expected a layer that does not: "
        "with stateful=False, called with training=False, or whose variable is updated in a "
        "callback (keras.callbacks.LambdaCallback(on_train_batch_end=...)). "
        f"Received: an assignment to {change}"
    )


def _owner(model: keras.Model, variable: keras.Variable) -> str:
    """The path of the innermost layer that holds a variable, or made it."""

    def held(layer: keras.layers.Layer) -> list[keras.Variable]:
        return [*layer.variables, *(v for metric in layer.metrics for v in metric.variables)]

    layers = all_layers(model)
    owners = [layer.path for layer in layers if variable.path.startswith(f"{layer.path}/")]
    holds = [layer for layer in layers if any(variable is state for state in held(layer))]
    if len(owners) > 1 or not holds:  # the model itself is one of them
        return max(owners, key=len, default=model.name)
    return min(holds, key=lambda layer: len(held(layer))).path
