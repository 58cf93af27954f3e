"""Layers of a network that no task can adapt with, and outputs that no loss of a task can see."""

from typing import Any

import keras

from keras_imaml._compat import self_check
from keras_imaml._compat.keras_attributes import all_layers, has_mask
from keras_imaml._compat.lora import lora_layers
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization


def check_layers(model: keras.Model) -> None:
    """Refuse layers whose state has no meaning for a network that is adapted task by task.

    Raises:
        ValueError: If the model holds a trainable stock `BatchNormalization`, or its outputs have
            a mask.
    """
    self_check.check_once(lora=any(lora_layers(model)))
    check_masks(model, getattr(model, "outputs", None) or [])
    for layer in all_layers(model):
        stock = isinstance(layer, keras.layers.BatchNormalization)
        if stock and not isinstance(layer, TaskBatchNormalization) and layer.trainable:
            raise ValueError(
                f"The layer {layer.path!r} is a trainable keras.layers.BatchNormalization. Its "
                "running averages would mix all tasks, and they would never be updated while a "
                "task is adapted. Use keras_imaml.layers.TaskBatchNormalization, which has the "
                "same weights, or set `trainable = False` on the layer to use it with the "
                "averages that it holds."
            )


def check_masks(model: keras.Model, outputs: Any) -> None:
    """Refuse outputs with a mask; those of subclassed models are known when they are called.

    Raises:
        ValueError: If one has a mask.
    """
    flat = keras.tree.flatten(outputs)
    masked = [x for x in flat if has_mask(x)]
    if masked:
        raise ValueError(
            f"The outputs of {model.name!r} have a Keras mask, such as that of an Embedding with "
            "mask_zero=True, which losses of single tasks do not see: padding would be trained "
            "on. Expected a layer after the mask that takes it in, such as an LSTM or a pooling "
            "layer, or a loss that leaves padding out by `ignore_class`, with mask_zero=False. "
            f"Received: {[getattr(x, 'name', x) for x in masked]}"
        )
