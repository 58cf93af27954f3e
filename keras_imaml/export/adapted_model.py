"""A plain Keras model with the weights of one task."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._compat.keras_graph import called_again, nodes_of, structure_of
from keras_imaml._compat.lora import enable_lora, lora_settings, refuse_rounded_files
from keras_imaml.export.layer_state import copy_other_state
from keras_imaml.layers import TaskBatchNormalization
from keras_imaml.layers.batch_statistics import batch_statistics
from keras_imaml.layers.stock import BecomesStock, StockOperations
from keras_imaml.layers.task_batch_normalization import normalizations
from keras_imaml.meta_parameters.parameters import Parameters


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
    copy_other_state(model, copy)
    values = parameters.unravel(phi[None])
    for variable, value in zip(parameters.adapted, values, strict=True):
        twins[id(variable)].assign(value[0])
    copy = _with_stock_layers(copy, support_x)
    for layer in all_layers(copy):
        if isinstance(layer, BecomesStock):
            layer.become_stock()
    refuse_rounded_files(copy)
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


def _with_stock_layers(model: keras.Model, support_x: Any) -> keras.Model:
    """Turn each `TaskBatchNormalization` into a stock layer with the support statistics.

    The two classes have the same weights and settings. An instance that is called once becomes the
    stock layer by a change of its class, in any kind of model and at any depth. An instance with
    more calls, each with its own statistics, becomes one layer per call. A layer of
    `StockOperations` becomes these.
    """
    layers = normalizations(model)
    of_task = [layer for layer in layers if not layer.fixed]
    calls = dict(zip(of_task, batch_statistics(of_task, model, support_x), strict=True))
    repeated = {
        layer: iter(statistics) for layer, statistics in calls.items() if len(statistics) > 1
    }

    def in_place_of(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, StockOperations):
            return operation.with_stock_operations(*args)
        if operation not in repeated:
            return operation(*args, **kwargs)
        stock = operation.stock_twin()
        outputs = stock(*args, **kwargs)
        *scale_and_offset, _, _ = operation.get_weights()
        stock.set_weights([*scale_and_offset, *next(repeated[operation])])
        return outputs

    nodes = nodes_of(model) or []
    if any(n.operation in repeated or isinstance(n.operation, StockOperations) for n in nodes):
        outputs = called_again(nodes, {}, in_place_of)(structure_of(model, "output"))
        model = keras.Model(structure_of(model, "input"), outputs, name=model.name)
    for layer in all_layers(model):
        if isinstance(layer, StockOperations) or layer in repeated:
            raise ValueError(
                f"The layer {layer.path!r} cannot be replaced by stock layers: it becomes stock "
                "operations, or normalizes more than once by the examples at hand, and it is not a "
                "layer of a functional model itself. Use `adapt_and_predict`, or `export`. "
                f"Received: {type(layer).__name__}"
            )
        if isinstance(layer, TaskBatchNormalization):
            for mean, variance in calls.get(layer, ()):
                layer.moving_mean.assign(mean)
                layer.moving_variance.assign(variance)
            layer.become_stock()
    return model
