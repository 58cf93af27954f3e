"""The part of a network that no task changes, evaluated once a meta-step instead of once a use.

With `adapt="head"`, all of the network before the head gives the same features in every inner
step and in every product with the curvature. The inner problem is then one of the head alone, and
the features are meta-parameters like any other: the implicit rule gives the meta-gradient for
them, and one backward pass takes it from there to the weights of the trunk.
"""

from typing import NamedTuple

import keras

from keras_imaml._compat.keras_attributes import all_layers, has_mask, own_generators
from keras_imaml._compat.keras_graph import nodes_of, replayed, structure_of
from keras_imaml.batching import has_penalties
from keras_imaml.layers.task_batch_normalization import normalizations
from keras_imaml.meta_parameters.parameters import Parameters


class Split(NamedTuple):
    """A network in two parts, of the same layers.

    Attributes:
        trunk: From the inputs to the features, a list of tensors; nothing in it adapts.
        remainder: From the features to the outputs.
    """

    trunk: keras.Model
    remainder: keras.Model


def split(model: keras.Model, parameters: Parameters) -> Split | None:
    """Split a functional model where the first adapted weights enter.

    Returns:
        The two parts, or None where there is nothing to gain or no way to tell: a subclassed
        model, adapted weights in the first layer with weights, an output that no task changes, a
        model with penalties of its own (which count at both levels), with masks between the two
        parts, or with dropout before the first adapted weights in a model that normalizes by the
        examples at hand (the two levels draw it differently then), or with a layer that draws
        in both parts.
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
    cut = list(features.values())
    masked = any(has_mask(feature) for feature in cut)
    if not gained or masked or any(id(output) in same for output in model.outputs):
        return None
    trunk = keras.Model(structure_of(model, "input"), cut)
    draws = _generators(trunk)
    if draws and normalizations(model):
        return None
    after = [node for node in nodes if not all(id(x) in same for x in node.outputs)]
    remainder = replayed(after, cut, structure_of(model, "output"))
    return None if draws & _generators(remainder) else Split(trunk, remainder)


def _generators(model: keras.Model) -> set[int]:
    """What the layers of a model draw random numbers from, by `id`."""
    return {id(g) for layer in all_layers(model) for g in own_generators(layer)}
