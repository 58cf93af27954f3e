"""Store the batch statistics of inputs in a network's normalization layers."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml.layers.batch_statistics import Calls, batch_statistics
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization, normalizations


def record_statistics(model: keras.Model, x: Any) -> int:
    """Record the normalization statistics of `x` in every layer with `fixed=True`.

    A `keras_imaml.layers.TaskBatchNormalization` with `fixed=True` normalizes every task by them.
    A layer that is used more than once holds the statistics of all its uses together. The few
    examples of a task say little about the mean and variance of features, so that this is
    often more accurate, and no prediction depends on the other queries. It suits layers that do
    not adapt: record again whenever weights before the last normalization have changed much.

    Args:
        model: A built model.
        x: Inputs `[examples, ...]` of many classes to train on, hundreds of them: one batch, which
            is normalized by itself.

    Returns:
        The number of layers that hold new statistics.

    Raises:
        ValueError: If no layer has `fixed=True`.

    Example:

    ```python
    network = ki.models.Conv4(5, tied_head=True, fixed_statistics=True)
    (_, _), (query_x, _) = next(iter(ki.data.glyphs("train", way=20, query=15)))
    ki.record_statistics(network, query_x)
    ```
    """
    layers = [layer for layer in normalizations(model) if layer.fixed]
    if not layers:
        raise ValueError(
            "Invalid value for `model`. Expected a model with a keras_imaml.layers."
            "TaskBatchNormalization(fixed=True), such as keras_imaml.models.Conv4("
            f"5, fixed_statistics=True). Received: {model.name!r}, which has none"
        )
    calls_of_layers = batch_statistics(layers, model, x)
    for layer, calls in zip(layers, calls_of_layers, strict=True):
        _store(layer, calls)
    if any(len(calls) > 1 for calls in calls_of_layers):
        # Each call was normalized by its own statistics. Record again, one layer after the other,
        # so that each sees the outputs of earlier layers under their stored statistics.
        for layer in layers:
            _store(layer, *batch_statistics([layer], model, x))
    return len(layers)


def _store(layer: TaskBatchNormalization, calls: Calls) -> None:
    """Store the statistics of all calls of a layer, which have equal weight."""
    if calls:
        means, variances = (tf.cast(tf.stack(v), tf.float64) for v in zip(*calls, strict=True))
        mean = tf.reduce_mean(means, axis=0)
        between = tf.square(means - mean) if layer.divide else 0.0
        variance = tf.reduce_mean(variances + between, axis=0)
        for variable, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            variable.assign(tf.cast(value, variable.dtype))
