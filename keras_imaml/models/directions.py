"""The direction of features, without their length."""

import math
from typing import Any

import keras


def directions(x: Any, dtype: Any, name: str) -> Any:
    """Features `[examples, size]` scaled to a mean square of 1, by layers without weights.

    One image of a class then weighs as much as another, and a linear head compares by the cosine.
    """
    unit = keras.layers.UnitNormalization(dtype=dtype, name=f"{name}_direction")(x)
    return keras.layers.Rescaling(math.sqrt(x.shape[-1]), dtype=dtype, name=name)(unit)
