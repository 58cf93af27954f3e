"""The graph of layer calls that a functional Keras model is made of.

Tested with Keras 3.13 and 3.15. Without the private `_nodes_by_depth` a network is evaluated as one
piece: slower, the same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras


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


def structure_of(model: keras.Model, end: str) -> Any:
    """The inputs or outputs as the model takes or gives them."""
    tensors = getattr(model, f"{end}s")
    return tensors[0] if len(tensors) == 1 else getattr(model, end)


def output_spec(model: keras.Model, inputs: Any) -> Any:
    """Symbolic outputs of symbolic inputs; Keras has none for an optional input that is None."""
    outputs = getattr(model, "outputs", None)
    if not outputs or not any(part is None for part in keras.tree.flatten(inputs)):
        return model.compute_output_spec(inputs)
    return keras.tree.map_structure(
        lambda z: keras.KerasTensor((None, *z.shape[1:]), z.dtype), structure_of(model, "output")
    )


def replayed(nodes: Sequence[Any], features: Sequence[Any], outputs: Any) -> keras.Model:
    """The model from features to outputs, by calling its layers once more.

    `keras.Model(features, outputs)` would do, but it damages a model of whose inputs one is a
    feature: that input gets another place in its layer, and the model no configuration.
    """
    starts = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in features]
    new = {id(x): start for x, start in zip(features, starts, strict=True)}
    return keras.Model(starts, called_again(nodes, new)(outputs))


def called_again(
    nodes: Sequence[Any],
    new: dict[int, Any],
    call: Callable[..., Any] = lambda operation, *args, **kwargs: operation(*args, **kwargs),
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
        outputs = call(node.operation, *renewed(arguments.args), **renewed(arguments.kwargs))
        new.update(zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True))
    return renewed
