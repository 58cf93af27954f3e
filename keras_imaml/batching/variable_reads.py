"""Which variables a network reads while it is traced: those of a task, or others past them.

Weights of a task are passed to Keras in the place of its variables. A layer that reads a variable
in another way computes with numbers that no task changes, and nothing else would tell.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.inlining import functions_inlined
from keras_imaml._compat.keras_attributes import all_layers, own_variables, tensorflow_variable
from keras_imaml._compat.reads import python_noted, read_in, reads_watched
from keras_imaml.batching.task_scope import TaskScope
from keras_imaml.meta_parameters.parameters import Parameters

_WAY_OUT = (
    "Expected a layer to make its weights by `self.add_weight(...)` and to read them in `call`, "
    "as `self.kernel` or by keras.ops.convert_to_tensor(self.kernel)."
)


@contextlib.contextmanager
def reads_checked(
    model: keras.Model, parameters: Parameters, scope: TaskScope, adapts: bool
) -> Iterator[None]:
    """Trace a network's call within, under `scope`; what it reads past it is refused.

    Args:
        model: The network.
        parameters: The split of the weights.
        scope: Gives the weights of a task.
        adapts: Whether weights of the task are among them.

    Raises:
        ValueError: With the names of the layer and the variable, and the way out.
    """
    watcher = reads_watched()
    with (
        captures_noted() as captures,
        python_noted() as python,
        functions_inlined(),
        scope,
        watcher,
    ):
        yield
    trained = _trained(watcher)
    adapted = parameters.adapted if adapts else []
    known = [*parameters.adapted, *parameters.shared]
    frozen = _handles(v for v in (*parameters.fixed, *scope.others.values()) if not v.trainable)
    names = _handles(known)
    names.update({key: v for key, v in _handles(scope.others.values()).items() if v.trainable})
    constants = []
    for tensor, path in captures:
        if tensor.dtype != tf.resource:
            constants.append((tensor, path))
        elif id(tensor) in names:
            variable = names[id(tensor)]
            member = any(variable is v for v in known)
            _refuse_read(model, path, variable.path, member)
        elif id(tensor) in trained and id(tensor) not in frozen:
            _refuse_read(model, path, trained[id(tensor)], False)
    for path in python:
        layer = layer_at(model, path)
        if layer.trainable_variables:
            raise ValueError(
                f"The layer {layer.path!r} calls Python while a graph runs (tf.py_function or "
                "tf.numpy_function), where its weights are not those of a task. Expected such a "
                "call in a layer without trainable weights, or in the input pipeline. Received: "
                f"a layer with {[v.path for v in layer.trainable_variables]}"
            )
    _check_cached(model, adapted, scope, constants)


def _refuse_read(model: keras.Model, path: str, variable: str, member: bool) -> None:
    layer = layer_at(model, path)
    why = (
        "whose value for a task is another: a graph that was traced before, or the variable's own "
        "tf.Variable, was kept and used"
        if member
        else "which is no weight of the network for Keras, so that nothing trains or adapts it"
    )
    raise ValueError(
        f"The layer {layer.path!r} reads a variable past Keras, {why}. {_WAY_OUT} A variable that "
        f"nothing should train has trainable=False. Received: {variable!r}"
    )


def _check_cached(
    model: keras.Model, adapted: Sequence[Any], scope: TaskScope, constants: Sequence[Any]
) -> None:
    """Refuse values that were taken from a weight before the call, in place of the weight."""
    owners = {id(v): layer for layer in all_layers(model) for v in _own(layer)}
    unread = [v for v in adapted if id(v) in owners and id(v) not in scope.read]
    used = [(x, layer_at(model, path)) for x, path in constants if x.dtype.is_floating]
    for variable in unread:
        owner = owners[id(variable)]
        cached = [x for x, layer in used if owner in all_layers(layer) and _numbers(x) > 1]
        if cached or any(_equal(x, variable) for x, _ in used):
            raise ValueError(
                f"The layer {owner.path!r} computes with numbers that were there before it was "
                f"called, and does not read its weight {variable.path!r}: what was taken from a "
                "weight in `build` or `__init__` is not that of a task. "
                f"{_WAY_OUT} A weight that is not needed has trainable=False. Received: "
                f"shape {tuple((cached or [variable])[0].shape)}"
            )
    if unread:
        warnings.warn(
            f"Weights of the network {model.name!r} are not read while it is called, so that no "
            "task changes them: read them in `call`, or set `trainable = False` on them. "
            f"Received: {[v.path for v in unread]}",
            stacklevel=2,
        )


def layer_at(model: keras.Model, path: str) -> keras.layers.Layer:
    """The innermost layer of a model among the name scopes `where`, joined by slashes."""
    layers = {layer.name: layer for layer in all_layers(model, include_self=False)}
    for name in reversed(path.split("/")):
        for candidate in (name, name.rpartition("_")[0]):  # scopes of one name get numbers
            if candidate in layers:
                return layers[candidate]
    return model


def refuse_weights_in_loss(parameters: Parameters, captures: Sequence[Any]) -> None:
    """Refuse a loss function that reads weights that adapt: it would not read those of a task."""
    names = _handles(parameters.adapted)
    read = sorted({names[id(x)].path for x, _ in captures if id(x) in names})
    if read:
        raise ValueError(
            "Invalid value for `loss`. Expected a function of labels and outputs alone; penalties "
            "of weights go into a layer's `kernel_regularizer`, or `add_loss` in its `call`, where "
            f"they are those of a task. Received: a loss that reads {read}"
        )


def refuse_others_in_loss(known: Sequence[keras.Variable], watcher: Any) -> None:
    """Refuse an inner loss that reads trainable variables past the learner, which trains none.

    Args:
        known: The variables that the learner trains or keeps.
        watcher: What `reads_watched` gave, around the loss.
    """
    handles = _handles(known)
    untrained = sorted(name for key, name in _trained(watcher).items() if key not in handles)
    if untrained:
        raise ValueError(
            "Invalid value for `inner_loss`. Expected its variables as keras.Variable among its "
            "attributes, or of a Keras layer among them, which the learner then trains. A variable "
            "that nothing should train has trainable=False. Received: a loss that reads "
            f"{untrained} past the learner"
        )


@contextlib.contextmanager
def captures_noted() -> Iterator[list[tuple[tf.Tensor, str]]]:
    """Collect `(tensor, name scopes)` of what the graph at hand takes from outside."""
    noted: list[tuple[tf.Tensor, str]] = []
    graph = tf.compat.v1.get_default_graph()
    stock = graph.capture  # of the class, or of a block around this one

    def capture(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(tensor, tf.__internal__.EagerTensor):
            noted.append((tensor, graph.get_name_scope()))
        return stock(tensor, *args, **kwargs)

    graph.capture = capture
    try:
        yield noted
    finally:
        graph.capture = stock


def _handles(variables: Any) -> dict[int, keras.Variable]:
    """By the `id` of the handles that a graph takes in, the variables; several on replicas."""
    handles = {}
    for variable in variables:
        value = tensorflow_variable(variable)
        for copy in getattr(value, "values", None) or [value]:
            handles[id(getattr(copy, "handle", None))] = variable
    return handles


def _trained(watcher: Any) -> dict[int, str]:
    """By the `id` of their handles, the names of variables that TensorFlow was told to train."""
    return {id(v.handle): v.name for v in read_in(watcher) if v.dtype.is_floating}


def _own(layer: keras.layers.Layer) -> list[keras.Variable]:
    return own_variables(layer)


def _numbers(x: tf.Tensor) -> int:
    return x.shape.num_elements() or 0


def _equal(x: tf.Tensor, variable: keras.Variable) -> bool:
    if tuple(x.shape) != tuple(variable.shape):
        return False
    return bool(np.array_equal(x.numpy(), keras.ops.convert_to_numpy(variable)))
