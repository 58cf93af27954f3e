"""What it takes for second derivatives of a Keras network to be exact on TensorFlow.

`tf.nn.moments` puts a `stop_gradient` on the mean inside the variance. That leaves the first
derivative as it is and makes the second one wrong: Hessian-vector products of LayerNormalization
are off by half, silently. Within `exact_moments` the variance is differentiated in full.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.replacement import Replacement
from keras_imaml._compat.second_derivatives import exact_moments_by_name, moments
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization

_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]*")  # of the scopes of a graph
_stock_moments = tf.nn.moments


def exact_moments() -> contextlib.AbstractContextManager:
    """Replace `tf.nn.moments` by one with exact derivatives while a network is traced.

    Keras looks the function up at each call, so LayerNormalization, GroupNormalization and
    everything else that is built on it becomes exact. So do modules that imported the function by
    its name. The values are the same.
    """
    return _everywhere()


def check_names(model: keras.Model) -> None:
    """Refuse names of layers with which no graph is built, by a `ValueError`."""
    wrong = [layer.name for layer in model._flatten_layers() if not _NAME.fullmatch(layer.name)]
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
    check_masks(model, getattr(model, "outputs", None) or [])
    check_names(model)
    for layer in model._flatten_layers():
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
    masked = [x for x in flat if getattr(x, "_keras_mask", None) is not None]
    if masked:
        raise ValueError(
            f"The outputs of {model.name!r} have a Keras mask, such as that of an Embedding with "
            "mask_zero=True, which losses of single tasks do not see: padding would be trained "
            "on. Expected a layer after the mask that takes it in, such as an LSTM or a pooling "
            "layer, or a loss that leaves padding out by `ignore_class`, with mask_zero=False. "
            f"Received: {[getattr(x, 'name', x) for x in masked]}"
        )


_replaced = Replacement(
    lambda function: setattr(tf.nn, "moments", function), moments, _stock_moments
)


@contextlib.contextmanager
def _everywhere() -> Iterator[None]:
    with _replaced, exact_moments_by_name():
        yield
