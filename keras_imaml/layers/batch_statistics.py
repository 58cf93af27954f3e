"""The batch means and variances of the normalization layers of a model."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization

Calls = list[tuple[tf.Tensor, tf.Tensor]]
"""Means and variances, `[features]`, of each call of a layer."""


def batch_statistics(
    layers: Sequence[TaskBatchNormalization], model: keras.Model, x: Any
) -> list[Calls]:
    """The statistics by which `layers` of a model normalize `x`, per layer and call."""
    if not layers:
        return []
    for layer in layers:
        layer.recorded = []
    try:
        model(x)
        return [list(layer.recorded or ()) for layer in layers]
    finally:
        for layer in layers:
            layer.recorded = None
