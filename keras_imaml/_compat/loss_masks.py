"""Masks of outputs, which the losses of Keras look for.

Tested with Keras 3.13 and 3.15. Without the private attribute, examples that are not there would
count in a loss; `self_check` refuses that.
"""

import tensorflow as tf


def with_mask(outputs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """`outputs` with a mask that Keras' losses apply: entries without it count nowhere.

    Args:
        outputs: A tensor; it is left as it is.
        mask: Bool, of the shape of a loss without reduction, or one that broadcasts to it.
    """
    outputs = tf.identity(outputs)
    outputs._keras_mask = mask  # private, and how Keras passes masks from layers to losses
    return outputs
