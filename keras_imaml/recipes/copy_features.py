"""The layers before a head, carried over from one network to another."""

import keras

from keras_imaml.layers.task_batch_normalization import only_centers


def copy_features(source: keras.Model, target: keras.Model) -> list[str]:
    """Set the weights of `target` to those of `source`, but for the head.

    For a network that begins where another one ended, such as a classifier of all training
    classes (`keras_imaml.algorithms.Supervised`). Layers are matched by name.

    Args:
        source: A built model.
        target: A built model whose layers with weights are in `source` too, with weights of the
            same shapes, but for the last one, its head, which is left as it is, and for a
            `TaskBatchNormalization` that only centers, by the examples at hand: it holds nothing.

    Returns:
        The names of the layers that were set.

    Raises:
        ValueError: If a layer is missing in `source`, or its weights have other shapes. Nothing is
            changed then.

    Example:

    ```python
    classifier = ki.models.Conv4(64, (84, 84, 3), downsample="max")
    network = ki.models.Conv4(5, (84, 84, 3), downsample="max", tied_head=True)
    ki.copy_features(classifier, network)
    ```
    """
    there = {layer.name: layer for layer in source.layers}
    held = [x for x in target.layers if x.weights and not (only_centers(x) and not x.fixed)]
    layers = held[:-1]
    for layer in layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        twin = there.get(layer.name)
        found = twin and [tuple(weight.shape) for weight in twin.weights]
        if found != shapes:
            raise ValueError(
                f"Invalid value for `source`. Expected a layer {layer.name!r} with weights of the "
                f"shapes {shapes}, as in `target`. Received: "
                + (f"shapes {found}" if twin else f"the layers {', '.join(there)}")
            )
    for layer in layers:
        layer.set_weights(there[layer.name].get_weights())
    return [layer.name for layer in layers]
