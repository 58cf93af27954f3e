"""The loss of `compile` for examples of which some are not there."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.loss_masks import with_mask
from keras_imaml._utils.outputs import losses_of_outputs


def weighted_loss(
    compiled: Any,
    loss: Any,
    y: Any,
    outputs: Any,
    weights: tf.Tensor,
    names: Sequence[str] | None = None,
) -> tf.Tensor:
    """Keras' loss with sample weights, of the examples whose weight is above zero alone.

    A mask takes the others out: they count neither in a mean nor in a sum.

    Args:
        compiled: Keras' `CompileLoss`.
        loss: What it was made of.
        y: Targets of one task, in the structure of the outputs; None where there are none.
        outputs: Outputs of the network.
        weights: `[examples]`.
        names: The names of the outputs in a functional network. Defaults to `None`: unknown.
    """
    _check_loss_of_each(losses_of_outputs(loss, outputs, names), y, outputs)

    def shaped(z: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        # Of the rank of a loss without reduction, which a mask of the loss itself has too.
        return tf.reshape(values, [-1] + [1] * max(0, z.shape.rank - 2))

    masked = keras.tree.map_structure(lambda z: with_mask(z, shaped(z, weights > 0)), outputs)
    each = keras.tree.map_structure(lambda z: shaped(z, weights), outputs)
    return compiled(y, masked, each)


def _check_loss_of_each(losses: list[Any], y: Any, outputs: Any) -> None:
    """Refuse losses that give one number for all examples, whose weights they cannot know.

    Raises:
        ValueError: With the loss.
    """
    ys, zs = keras.tree.flatten(y), keras.tree.flatten(outputs)
    if not len(losses) == len(ys) == len(zs):
        return
    for loss, target, output in zip(losses, ys, zs, strict=True):
        function = getattr(loss, "call", loss)
        if not callable(function) or target is None:
            continue  # a name of Keras', whose losses are of each example, or no loss
        values = tf.convert_to_tensor(function(target, output))
        if values.shape.rank == 0:
            raise ValueError(
                "Invalid value for `loss`. Expected a loss of each example where examples have "
                "weights, such as a Keras loss or a function that returns `[examples]`: a mean "
                f"over all of them would count those that are not there. Received: {loss!r}"
            )
