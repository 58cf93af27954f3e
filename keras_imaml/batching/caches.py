"""How many tasks the caches hold, so that activations stay near the cores of a processor."""

import math

import keras

from keras_imaml._compat.keras_graph import nodes_of

CACHE_BYTES = 16 * 2**20
"""Activations that are evaluated at once, about."""


def tasks_in_caches(model: keras.Model, examples: int | None) -> int | None:
    """Of how many tasks the caches hold the activations, at least 1; None where one cannot tell.

    Args:
        model: The network; the sizes of what its layers give are known if it is functional.
        examples: Examples of each task, if that is known.
    """
    if examples is None:
        return None
    numbers = 0
    for output in [x for node in nodes_of(model) or () for x in node.outputs]:
        shape = output.shape[1:]
        if any(size is None for size in shape):
            return None
        numbers += math.prod(shape)
    return max(1, CACHE_BYTES // max(1, 4 * numbers * examples))
