"""Recurrent layers, step after step in the graph instead of in a loop.

A `tf.while_loop` that is vectorized and then differentiated up to three times becomes hundreds of
functions, which take minutes to build and are slow to run: lists of all that a step computed, for
each derivative. The same steps one after the other compute the same numbers.

Tested with Keras 3.13 and 3.15. Without `RNN.inner_loop` the loop stays: slower, the same numbers.
"""

import contextlib
from typing import Any

import keras

from keras_imaml._compat.replacement import Replacement

UNROLLED_STEPS = 64
"""Steps of a sequence, at most: graphs grow with them, and those of loops do not."""

_stock: Any = getattr(keras.layers.RNN, "inner_loop", None)


def unrolled_recurrence() -> contextlib.AbstractContextManager:
    """Within it, recurrent layers on short sequences of known length are built without a loop."""
    return _replaced


def _inner_loop(layer: Any, sequences: Any, *arguments: Any, **named: Any) -> Any:
    steps = sequences.shape[1]
    if layer.unroll or steps is None or steps > UNROLLED_STEPS:
        return _stock(layer, sequences, *arguments, **named)
    layer.unroll = True
    try:
        return _stock(layer, sequences, *arguments, **named)
    finally:
        layer.unroll = False


_replaced = Replacement(
    lambda function: setattr(keras.layers.RNN, "inner_loop", function), _inner_loop, _stock
)
