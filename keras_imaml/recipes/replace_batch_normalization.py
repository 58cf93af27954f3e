"""A pretrained network whose normalization keeps its statistics while its weights adapt."""

from typing import Any

import keras

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml.export.layer_state import copy_other_state
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization


def replace_batch_normalization(model: keras.Model) -> keras.Model:
    """Copy a network with a `TaskBatchNormalization` for every `BatchNormalization`.

    The copy computes what the network computes for inference: `fixed=True` normalizes by the
    moving statistics, which no task changes. Scales and offsets train and adapt. Statistics of the
    few examples of a task would be another network: where a feature hardly varies among them, each
    layer multiplies what a query shows by up to 30, and fifty layers do so in a row.

    Args:
        model: A built Sequential or functional network, such as one of `keras.applications`; with
            networks within it or not.

    Returns:
        A network with the same names and weights that shares no variable with `model`.

    Raises:
        ValueError: If the network cannot be copied, or a layer is within a wrapper.

    Example:

    ```python
    pretrained = keras.applications.MobileNetV2((32, 32, 3), weights=None, include_top=False)
    features = ki.replace_batch_normalization(pretrained)
    network = keras.Sequential([features, keras.layers.Flatten(), keras.layers.Dense(5)])
    learner = ki.MetaLearner(network, ki.IMAML(), adapt=[network.layers[-1].name])
    ```
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Invalid value for `model`. Expected a built Sequential or functional network, whose "
            f"layers can be replaced. Received: {type(model).__name__}"
        )
    copy = keras.models.clone_model(model, clone_function=_replaced, recursive=True)
    wrapped = [layer.path for layer in all_layers(copy) if _is_stock(layer)]
    if wrapped:
        raise ValueError(
            "Invalid value for `model`. Expected BatchNormalization layers of the network itself "
            "or of networks within it. Set `trainable = False` on others. Received: "
            f"{wrapped}, which are within other layers"
        )
    for twin, weight in zip(copy.weights, model.weights, strict=True):
        twin.assign(weight)
        twin.trainable = weight.trainable
    copy_other_state(model, copy)
    return copy


def _is_stock(layer: Any) -> bool:
    stock = isinstance(layer, keras.layers.BatchNormalization)
    return stock and not isinstance(layer, TaskBatchNormalization)


def _replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config()
    if not _is_stock(layer):
        return type(layer).from_config(config)
    for name in ("synchronized", "renorm", "renorm_clipping", "renorm_momentum"):
        config.pop(name, None)
    return TaskBatchNormalization.from_config({**config, "fixed": True})
