"""How many classes each task has, where a tied head serves tasks of any number of them."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.datasets import sources
from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._compat.keras_graph import nodes_of
from keras_imaml._utils.keras_losses import softmax_cross_entropy
from keras_imaml.layers import TiedDense
from keras_imaml.objectives.tasks import NO_LOGIT


def tied_head(model: keras.Model) -> TiedDense | None:
    """The layer that gives the logits of a network, if it is tied and can leave classes out."""
    outputs = getattr(model, "outputs", None) or []
    nodes = nodes_of(model)
    if not nodes or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return None
    last = next((n.operation for n in nodes if n.outputs[0] is outputs[0]), None)
    if not isinstance(last, TiedDense) or not last.use_bias:
        return None
    return last if last.activation is keras.activations.linear else None


def kind_of_labels(model: keras.Model, loss: Any) -> str | None:
    """How labels tell the classes of a task, `"sparse"` or `"categorical"`.

    None where all outputs of the network count, whatever the labels are.
    """
    return softmax_cross_entropy(loss) if tied_head(model) else None


def classes_of_tasks(kind: str, sets: Any) -> tf.Tensor:
    """The number of classes of each task, int32 `[tasks]`: one more than its largest label.

    Args:
        kind: `"sparse"` or `"categorical"`.
        sets: Pairs of labels `[tasks, examples, ...]` and weights `[tasks, examples]`. Either may
            be `()`: not known, and all ones.
    """
    counts = []
    for labels, weights in sets:
        if not tf.is_tensor(labels):
            continue
        if kind == "sparse":
            numbers = tf.cast(labels, tf.int32) + 1
        else:
            positions = tf.range(1, tf.shape(labels)[-1] + 1)
            numbers = tf.reduce_max(tf.where(labels > 0, positions, 0), axis=-1)
        numbers = tf.reshape(numbers, tf.shape(labels)[:2])
        if tf.is_tensor(weights):
            numbers = tf.where(weights > 0, numbers, 0)
        counts.append(tf.reduce_max(numbers, axis=1))
    return tf.reduce_max(tf.stack(counts), axis=0)


def leave_out(adapted: keras.Model, model: keras.Model, classes: int) -> None:
    """Let an adapted model never predict the classes that its task does not have.

    Args:
        adapted: A copy of `model` with stock layers.
        model: The network, with a tied head.
        classes: Number of classes of the task.
    """
    head = tied_head(model)
    assert head is not None
    (bias,) = (layer.bias for layer in all_layers(adapted) if layer.name == head.name)
    bias.assign(keras.ops.where(keras.ops.arange(head.units) < classes, bias, NO_LOGIT))


def check_way(model: keras.Model, losses: Sequence[Any], data: Any) -> None:
    """Refuse tasks of more classes than outputs, or of a number that all outputs do not fit.

    Args:
        model: The network.
        losses: That of each level.
        data: A data set, or arrays.

    Raises:
        ValueError: With the way out.
    """
    if None in map(softmax_cross_entropy, losses):
        _check_one_way(_ways(data))
        return
    outputs = getattr(model, "outputs", None) or []
    for way in _ways(data):
        if len(outputs) == 1 and way[1] > (outputs[0].shape[-1] or way[1]):
            raise ValueError(
                f"Invalid value for `way`. Expected at most {outputs[0].shape[-1]} classes, the "
                "outputs of the network: draw fewer, or make a network of more; with a tied head "
                f"keras_imaml.with_classes(learner, {way[1]}) does. Received: way={way}"
            )
    if not tied_head(model):
        _check_one_way(_ways(data))


def _ways(data: Any) -> list[tuple[int, int]]:
    """The fewest and the most classes of the tasks of a data set, where it tells."""
    if not isinstance(data, tf.data.Dataset):
        return []
    return [way for source in sources(data) if (way := getattr(source, "way", None)) is not None]


def _check_one_way(ways: list[tuple[int, int]]) -> None:
    for way in ways:
        if way[0] != way[1]:
            raise ValueError(
                "Invalid value for `way`. Expected one number of classes for this learner, or a "
                "network that ends in a keras_imaml.layers.TiedDense with a bias, such as "
                "keras_imaml.models.Conv4(classes, tied_head=True), and keras.losses."
                "SparseCategoricalCrossentropy(from_logits=True): any other head would predict "
                f"classes that a task does not have. Received: way={way}"
            )
