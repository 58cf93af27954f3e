"""The linear head of a network of images: on features, centered ones, or their direction alone."""

from typing import Any

import keras

from keras_imaml.layers import TaskBatchNormalization, TiedDense

_LENGTH = 10.0  # of features of which only the direction counts: the largest logit of a classifier


def head(x: Any, classes: int, tied: bool, cosine: bool, dtype: Any, centered: bool = False) -> Any:
    """Logits `[examples, classes]` of features `[examples, ...]`.

    What reaches the last layer is named `features`.

    Args:
        x: Features.
        classes: Number of logits.
        tied: Whether the head is a `TiedDense`.
        cosine: Whether features are scaled to one length; a head that is not tied then has
            weights of length 1 for each class and no bias, so that its logits are cosines.
        dtype: Of the head and of features that are centered or scaled.
        centered: Whether the mean of the examples at hand is taken off the features.
    """
    if len(x.shape) > 2:
        name = "flat" if cosine or centered else "features"
        x = keras.layers.Flatten("channels_last", dtype=x.dtype, name=name)(x)
    if centered:
        x = TaskBatchNormalization(
            divide=False,
            center=False,
            scale=False,
            dtype=dtype,
            name="centered" if cosine else "features",
        )(x)
    if cosine:
        x = keras.layers.UnitNormalization(dtype=dtype, name="directions")(x)
        x = keras.layers.Rescaling(_LENGTH, dtype=dtype, name="features")(x)
    if tied:
        return TiedDense(classes, dtype=dtype, name="head")(x)
    more: dict[str, Any] = {}
    if cosine:
        more = {"use_bias": False, "kernel_constraint": keras.constraints.UnitNorm(axis=0)}
    return keras.layers.Dense(classes, dtype=dtype, name="head", **more)(x)
