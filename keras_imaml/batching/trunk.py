"""The part of a network that no task changes, evaluated once a meta-step instead of once a use.

With `adapt="head"`, all of the network before the head gives the same features in every inner
step and in every product with the curvature. The inner problem is then one of the head alone, and
the features are meta-parameters like any other: the implicit rule gives the meta-gradient for
them, and one backward pass takes it from there to the weights of the trunk.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_imaml.batching import has_penalties
from keras_imaml.layers.task_batch_normalization import normalizations
from keras_imaml.parameters import Parameters


class Split(NamedTuple):
    """A network in two parts, of the same layers.

    Attributes:
        trunk: From the inputs to the features, a list of tensors; nothing in it adapts.
        rest: From the features to the outputs.
    """

    trunk: keras.Model
    rest: keras.Model


def split(model: keras.Model, parameters: Parameters) -> Split | None:
    """Split a functional model where the first adapted weights enter.

    Returns:
        The two parts, or None where there is nothing to gain or no way to tell: a subclassed
        model, adapted weights in the first layer with weights, an output that no task changes, a
        model with penalties of its own (which count at both levels), with masks between the two
        parts, or with dropout before the first adapted weights in a model that normalises by the
        examples at hand (the two levels draw it differently then).
    """
    nodes = nodes_of(model)
    if nodes is None or has_penalties(model):
        return None
    adapted = {id(variable) for variable in parameters.adapted}
    same = {id(tensor) for tensor in model.inputs}  # for all tasks
    features: dict[int, keras.KerasTensor] = {}
    gained = False
    for node in nodes:
        inputs, operation = node.arguments.keras_tensors, node.operation
        weights = getattr(operation, "variables", [])
        if all(id(x) in same for x in inputs) and not adapted & {id(v) for v in weights}:
            same.update(id(x) for x in node.outputs)
            gained |= bool(weights)
        else:
            features.update({id(x): x for x in inputs if id(x) in same})
    found = list(features.values())
    masked = any(getattr(feature, "_keras_mask", None) is not None for feature in found)
    if not gained or masked or any(id(output) in same for output in model.outputs):
        return None
    trunk = keras.Model(structure_of(model, "input"), found)
    draws = any(layer._seed_generators for layer in trunk._flatten_layers())
    if draws and normalizations(model):
        return None
    after = [node for node in nodes if not all(id(x) in same for x in node.outputs)]
    return Split(trunk, replayed(after, found, structure_of(model, "output")))


def replayed(nodes: Sequence[Any], features: Sequence[Any], outputs: Any) -> keras.Model:
    """The model from features to outputs, by calling its layers once more.

    `keras.Model(features, outputs)` would do, but it damages a model of whose inputs one is a
    feature: that input gets another place in its layer, and the model no configuration.
    """
    starts = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in features]
    new = {id(x): start for x, start in zip(features, starts, strict=True)}
    return keras.Model(starts, called_again(nodes, new)(outputs))


def _same(operation: Any, *args: Any, **kwargs: Any) -> Any:
    return operation(*args, **kwargs)


def called_again(
    nodes: Sequence[Any], new: dict[int, Any], call: Callable[..., Any] = _same
) -> Callable[[Any], Any]:
    """Call layers once more, with other tensors for some.

    Args:
        nodes: Their calls, each after those that it depends on.
        new: By the `id` of a tensor, the one in its place.
        call: `(layer, *args, **kwargs)` to what to put there. Defaults to a call of the layer.

    Returns:
        From tensors of the old calls to those in their place.
    """
    new = dict(new)

    def renewed(structure: Any) -> Any:
        return keras.tree.map_structure(lambda x: new.get(id(x), x), structure)

    for node in nodes:
        arguments = node.arguments
        found = call(node.operation, *renewed(arguments.args), **renewed(arguments.kwargs))
        new.update(zip(map(id, node.outputs), keras.tree.flatten(found), strict=True))
    return renewed


def structure_of(model: keras.Model, end: str) -> Any:
    """The inputs or outputs as the model takes or gives them."""
    tensors = getattr(model, f"{end}s")
    return tensors[0] if len(tensors) == 1 else getattr(model, end)


def nodes_of(model: keras.Model) -> Sequence[Any] | None:
    """The calls of layers that make up a model, each after those that it depends on."""
    ends = (getattr(model, "inputs", None), getattr(model, "outputs", None))
    if not all(ends):
        return None
    by_depth = getattr(keras.Model(model.inputs, model.outputs), "_nodes_by_depth", None)
    if by_depth is None:  # Keras keeps it to itself: do without
        return None
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in nodes if not node.is_input]
