"""From the weights of one task to a plain Keras model."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml.batching.lora import enable_lora, lora_settings
from keras_imaml.layers import TiedDense
from keras_imaml.layers.task_batch_normalization import normalizations
from keras_imaml.parameters import Parameters
from keras_imaml.statistics import take_down


def adapted_model(
    model: keras.Model, parameters: Parameters, phi: tf.Tensor, support_x: Any, name: str | None
) -> keras.Model:
    """A copy of `model` with the weights `phi [size]`, free of this package's layers.

    Raises:
        ValueError: If the model cannot be copied from its configuration.
    """
    copy = _copy(model, support_x, name)
    twins = dict(zip((id(v) for v in model.variables), copy.variables, strict=True))
    for variable in model.variables:
        twins[id(variable)].assign(variable)
    values = parameters.unravel(phi[None])
    for variable, value in zip(parameters.adapted, values, strict=True):
        twins[id(variable)].assign(value[0])
    _freeze_statistics(copy, support_x)
    for layer in copy._flatten_layers():
        if isinstance(layer, TiedDense):
            layer.untie()
    return copy


def _copy(model: keras.Model, support_x: Any, name: str | None) -> keras.Model:
    try:
        config = model.get_config()
        copy = type(model).from_config({**config, "name": name or model.name})
    except (NotImplementedError, TypeError) as error:
        raise ValueError(
            f"The model {model.name!r} cannot be copied for one task. Expected a model whose "
            "class has `get_config` and `from_config`, as saving it needs too. "
            f"Received: {type(model).__name__}, which says: {error}"
        ) from error
    if not copy.built or len(copy.variables) != len(model.variables):
        copy(support_x)  # subclassed models create their weights when they are first called
    enable_lora(copy, lora_settings(model))
    return copy


def _freeze_statistics(model: keras.Model, support_x: Any) -> None:
    """Turn each `TaskBatchNormalization` into a stock layer with the support statistics.

    The two classes have the same weights and the same settings. So an instance becomes the stock
    layer by its class alone, in whatever kind of model and at whatever depth it sits.
    """
    layers = normalizations(model)
    of_task = [layer for layer in layers if not layer.fixed]
    take_down(of_task, model, support_x)
    for layer in of_task:
        if layer.recordings > 1:
            raise ValueError(
                f"The layer {layer.path!r} is used more than once, with other statistics each "
                "time, and a stock BatchNormalization holds one set of them. Use one "
                "TaskBatchNormalization for each place, `fixed=True`, or `adapt_and_predict`. "
                f"Received: {layer.recordings} calls"
            )
    for layer in layers:
        layer.__class__ = keras.layers.BatchNormalization
