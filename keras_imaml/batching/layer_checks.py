"""Layers of a network that no task can adapt with, and outputs that no loss of a task can see."""

import re
from typing import Any

import keras

from keras_imaml._compat import self_check
from keras_imaml._compat.keras_attributes import all_layers, has_mask
from keras_imaml._compat.lora import lora_layers
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization

_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]*")  # of the scopes of a graph


def check_names(model: keras.Model) -> None:
    """Refuse names of layers with which no graph is built, by a `ValueError`."""
    wrong = [layer.name for layer in all_layers(model) if not _NAME.fullmatch(layer.name)]
    if wrong:
        raise ValueError(
            "Invalid value for `model`. Expected names of the network and its layers without "
            "spaces and parentheses, of the letters a to z, digits and `_ . - / >`: TensorFlow "
            "builds no graph of others, for training or for `predict`. Give them as `name=`. "
            f"Received: {wrong}"
        )


def check_layers(model: keras.Model) -> None:
    """Refuse layers whose state has no meaning for a network that is adapted task by task.

    Raises:
        ValueError: If the model holds a trainable stock `BatchNormalization`, its outputs have a
            mask, or a name is none for TensorFlow.
    """
    self_check.check_once(lora=any(lora_layers(model)))
    check_masks(model, getattr(model, "outputs", None) or [])
    check_names(model)
    for layer in all_layers(model):
        stock = isinstance(layer, keras.layers.BatchNormalization)
        if stock and not isinstance(layer, TaskBatchNormalization) and layer.trainable:
            raise ValueError(
                f"The layer {layer.path!r} is a trainable keras.layers.BatchNormalization. Its "
                "running averages would mix all tasks, and they would never be updated while a "
                "task is adapted. For a pretrained network use keras_imaml."
                "replace_batch_normalization(network), which keeps the averages, or set "
                "`trainable = False` on the layer. In a network that is trained from the start "
                "use keras_imaml.layers.TaskBatchNormalization."
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
