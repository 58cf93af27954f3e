"""Copy the layers before the head from one network to another."""

import keras

from keras_imaml.layers.centering import only_centers


def copy_features(source: keras.Model, target: keras.Model) -> list[str]:
    """Copy the weights of `source` to `target`, except for the head.

    Use it to start from a pre-trained network, such as a classifier of all training classes
    (`keras_imaml.algorithms.Supervised`). Layers are matched by name.

    Args:
        source: A built model.
        target: A built model. `source` must have its layers with weights, in the same shapes.
            Exceptions are the last one, the head, which is not changed, and a
            `keras_imaml.layers.Centering` by batch statistics.

    Returns:
        The names of the layers that were set.

    Raises:
        ValueError: If a layer is missing in `source`, or its weights have other shapes. `target`
            is then unchanged.

    Example:

    ```python
    classifier = ki.models.Conv4(64, (84, 84, 3), downsample="max")
    network = ki.models.Conv4(5, (84, 84, 3), downsample="max", tied_head=True)
    ki.copy_features(classifier, network)
    ```
    """
    sources = {layer.name: layer for layer in source.layers}
    weighted = [x for x in target.layers if x.weights and not (only_centers(x) and not x.fixed)]
    layers = weighted[:-1]
    for layer in layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        twin = sources.get(layer.name)
        twin_shapes = twin and [tuple(weight.shape) for weight in twin.weights]
        if twin_shapes != shapes:
            raise ValueError(
                f"Invalid value for `source`. Expected a layer {layer.name!r} with weights of the "
                f"shapes {shapes}, as in `target`. Received: "
                + (f"shapes {twin_shapes}" if twin else f"the layers {', '.join(sources)}")
            )
    for layer in layers:
        layer.set_weights(sources[layer.name].get_weights())
    return [layer.name for layer in layers]
