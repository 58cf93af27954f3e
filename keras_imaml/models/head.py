"""The linear head of an image network, on plain, centered or normalized features."""

from typing import Any

import keras

from keras_imaml.layers import Centering, TiedDense

_FEATURE_NORM = 10.0  # bounds the logits of a cosine head


def head(x: Any, classes: int, tied: bool, cosine: bool, dtype: Any, centered: bool = False) -> Any:
    """Logits `[examples, classes]` of features `[examples, ...]`.

    The layer before the head is named `features`.

    Args:
        x: Features.
        classes: Number of logits.
        tied: Whether the head is a `TiedDense`.
        cosine: Whether to scale features to a fixed length. A head that is not tied then has no
            bias and weights of length 1 per class, so that its logits are scaled cosines.
        dtype: Dtype of the head, and of features that are centered or scaled.
        centered: Whether to subtract the mean of the current examples from the features.
    """
    if len(x.shape) > 2:
        name = "flat" if cosine or centered else "features"
        x = keras.layers.Flatten("channels_last", dtype=x.dtype, name=name)(x)
    if centered:
        x = Centering(dtype=dtype, name="centered" if cosine else "features")(x)
    if cosine:
        x = keras.layers.UnitNormalization(dtype=dtype, name="directions")(x)
        x = keras.layers.Rescaling(_FEATURE_NORM, dtype=dtype, name="features")(x)
    if tied:
        return TiedDense(classes, dtype=dtype, name="head")(x)
    settings: dict[str, Any] = {}
    if cosine:
        settings = {"use_bias": False, "kernel_constraint": keras.constraints.UnitNorm(axis=0)}
    return keras.layers.Dense(classes, dtype=dtype, name="head", **settings)(x)
