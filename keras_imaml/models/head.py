"""The linear head of a network of images, on features or on their direction alone."""

from typing import Any

import keras

from keras_imaml.layers import TiedDense

_LENGTH = 10.0  # of features of which only the direction counts: the largest logit of a classifier


def head(x: Any, classes: int, tied: bool, cosine: bool, dtype: Any) -> Any:
    """Logits `[examples, classes]` of features `[examples, ...]`, named `features` when flat.

    Args:
        x: Features.
        classes: Number of logits.
        tied: Whether the head is a `TiedDense`.
        cosine: Whether features are scaled to one length; a head that is not tied then has
            weights of length 1 for each class and no bias, so that its logits are cosines.
        dtype: Of the head and the scaled features.
    """
    if len(x.shape) > 2:
        x = keras.layers.Flatten(dtype=x.dtype, name="flat" if cosine else "features")(x)
    if cosine:
        x = keras.layers.UnitNormalization(dtype=dtype, name="directions")(x)
        x = keras.layers.Rescaling(_LENGTH, dtype=dtype, name="features")(x)
    if tied:
        return TiedDense(classes, dtype=dtype, name="head")(x)
    more: dict[str, Any] = {}
    if cosine:
        more = {"use_bias": False, "kernel_constraint": keras.constraints.UnitNorm(axis=0)}
    return keras.layers.Dense(classes, dtype=dtype, name="head", **more)(x)
