"""The rule for `LayerNormalization`, along any axes of an example."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_imaml._compat.grouped_convolution import static_or_dynamic_shape
from keras_imaml.batching.activations import Activations, Meta, Weight
from keras_imaml.batching.normalization import standardize, widened


def layer_normalization(
    layer: keras.layers.LayerNormalization, meta: Meta, inputs: list[Activations]
) -> Activations:
    """All tasks together, in the order in which their activations lie."""
    (x,) = inputs
    z, task_axis = _with_task_axis(meta, x)
    rank = z.shape.rank - 1  # of the examples of one task
    axes = sorted(axis % rank for axis in keras.tree.flatten(layer.axis))
    places = [axis + 1 if axis >= task_axis else axis for axis in axes]

    def broadcastable(variable: keras.Variable) -> tf.Tensor:
        return _broadcastable(meta.weight(variable), places, task_axis, z)

    z = standardize(z, places, layer.epsilon)
    z = z * broadcastable(layer.gamma) if layer.scale else z
    z = z + broadcastable(layer.beta) if layer.center else z
    z = tf.reshape(z, static_or_dynamic_shape(x.value)) if x.folded else z
    return x._replace(value=tf.cast(z, layer.compute_dtype))


def _with_task_axis(meta: Meta, x: Activations) -> tuple[tf.Tensor, int]:
    """Activations with an axis of tasks, in the order they have, and the place of this axis."""
    z = widened(x.value)
    if not x.folded:
        return z, 0
    *middle, last = static_or_dynamic_shape(z)
    return tf.reshape(z, [*middle, meta.tasks, last // meta.tasks]), len(middle)


def _broadcastable(
    weight: Weight, places: Sequence[int], task_axis: int, z: tf.Tensor
) -> tf.Tensor:
    """A weight with an axis for each of `places`, in the rank of `z`."""
    value = tf.cast(weight.value, z.dtype)
    axes = [task_axis, *places] if weight.adapts else [*places]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    value = tf.transpose(value, order) if order != list(range(len(axes))) else value
    sizes = dict(zip(sorted(axes), static_or_dynamic_shape(value), strict=True))
    return tf.reshape(value, [sizes.get(axis, 1) for axis in range(z.shape.rank)])
