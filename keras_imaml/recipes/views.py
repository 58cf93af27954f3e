"""A network that averages its features over several views of each image."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_graph import called_again, nodes_of, structure_of
from keras_imaml.layers import View
from keras_imaml.layers.centering import only_centers


def views_of_photographs(size: int | None = None) -> list[View]:
    """The image and a magnified one, each also mirrored, `size` pixels wide and high.

    Example:

    ```python
    [view(np.zeros((1, 84, 84, 3))).shape for view in ki.views_of_photographs(64)]
    ```
    """
    return [View(mirrored, zoom, size=size) for zoom in (1.0, 7 / 6) for mirrored in (False, True)]


def views_of_drawings(size: int | None = None) -> list[View]:
    """The image, and moved by a pixel along each diagonal, `size` pixels wide and high.

    Example:

    ```python
    [view(np.zeros((1, 28, 28, 1))).shape for view in ki.views_of_drawings()]
    ```
    """
    moves = [(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    return [View(down=down, right=right, size=size) for down, right in moves]


def seen_in_views(
    model: keras.Model,
    views: Sequence[Callable],
    image_shape: tuple[int, int, int] | None = None,
    name: str | None = None,
) -> keras.Model:
    """A network whose head sees the mean features of several views of an image.

    Averaging removes variation between single views, so that adaptation is often more accurate.
    The time for the features grows with the number of views. The head is the last layer with
    weights, with a normalization before it that only centers (`centered=True` in
    `keras_imaml.models`). Both models share all layers and weights: train either, use the other.

    Layers that normalize by the examples at hand do so for each view by itself, and
    `MetaLearner.adapt` makes one stock layer for each; `keras_imaml.record_statistics` takes down
    the statistics of all views together.

    Args:
        model: A functional model of one batch of images, in which all that reaches the head, a
            layer of the model itself, are features from the layer before it.
        views: Layers or functions from images to the images that `model` takes, such as
            `keras_imaml.layers.View`, `views_of_photographs()`, `views_of_drawings()`.
        image_shape: `(height, width, channels)` of the images. Larger ones than `model` takes, of
            which views are made smaller, lose less by a closer view. Defaults to `None`: as `model`
            takes them.
        name: Of the new model. Defaults to `None`: that of `model`.

    Returns:
        A functional model from images to what `model` gives.

    Raises:
        ValueError: If there are no views, one has another shape than `model` takes, or the model
            has no such head.

    Example:

    ```python
    network = ki.models.Conv4(5, (64, 64, 3), downsample="max")
    seen = ki.seen_in_views(network, ki.views_of_photographs(64), image_shape=(84, 84, 3))
    learner = ki.MetaLearner(seen, ki.IMAML(), adapt="head")
    ```

    References:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012,
        section 4.1 (which averages predictions).
    """
    if not isinstance(views, Sequence) or not views or not all(map(callable, views)):
        raise ValueError(
            "Invalid value for `views`. Expected a list of layers or functions from images to "
            f"images, at least one. Received: views={views}"
        )
    trunk_nodes, features, head_nodes = _cut(model)
    (start,) = model.inputs
    shape = tuple(image_shape or start.shape[1:])
    inputs = keras.Input(batch_shape=(start.shape[0], *shape), dtype=start.dtype, name=start.name)
    features_of_views = []
    for view in views:
        image = view(inputs)
        if not tf.TensorShape(start.shape).is_compatible_with(image.shape):
            raise ValueError(
                f"Invalid value for `views`. Expected images {tuple(start.shape)}, as "
                f"{model.name!r} takes them. Received: a view {tuple(image.shape)}"
            )
        features_of_views.append(called_again(trunk_nodes, {id(start): image})(features))
    mean = (
        keras.layers.Average(dtype=features.dtype)(features_of_views)
        if len(features_of_views) > 1
        else features_of_views[0]
    )
    outputs = called_again(head_nodes, {id(features): mean})(structure_of(model, "output"))
    return keras.Model(inputs, outputs, name=name or model.name)


def _cut(model: keras.Model) -> tuple[Sequence[Any], keras.KerasTensor, Sequence[Any]]:
    """The calls before the head, the features, and the calls of the head."""
    nodes = nodes_of(model) or []
    weighted = [i for i, node in enumerate(nodes) if getattr(node.operation, "weights", [])]
    if len(weighted) > 2 and only_centers(nodes[weighted[-2]].operation):
        del weighted[-1]  # the mean features of the views are what is centered
    if len(weighted) > 1 and len(model.inputs) == 1:
        head = weighted[-1]
        trunk_nodes, head_nodes = nodes[:head], nodes[head:]
        output_ids = {id(x) for node in head_nodes for x in node.outputs}
        used = [*(x for node in head_nodes for x in node.arguments.keras_tensors), *model.outputs]
        features = {id(x): x for x in used if id(x) not in output_ids}
        if len(features) == 1 and not isinstance(nodes[head].operation, keras.Model):
            return trunk_nodes, next(iter(features.values())), head_nodes
    raise ValueError(
        "Invalid value for `model`. Expected a functional model with one input, of which one "
        "tensor of features reaches a head, the last layer with weights, such as "
        f"keras_imaml.models.Conv4(5). Received: {model.name!r}, of which this cannot be told"
    )
