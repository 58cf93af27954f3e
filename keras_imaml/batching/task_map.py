"""A function of one task for all tasks: vectorized where that is exact, else task by task."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml._compat.custom_gradients import custom_gradients_noted
from keras_imaml._compat.exact_conversions import converted_exactly
from keras_imaml._compat.fallbacks import fallbacks_noted, layers_of, uneven, warn
from keras_imaml._compat.xla import vectorized_in_place

_MOST_UNROLLED = 64  # tasks; the graph grows with them


class TaskMap:
    """Calls functions of one task for all tasks, and remembers what cannot be vectorized.

    Vectorization would lose gradients that a user defined by `tf.custom_gradient`. TensorFlow does
    not vectorize conditions and some loops under two tapes, nor operations whose results have
    another size in each task. All of these are computed task by task.

    Args:
        layers: Names of the layers that a warning may name.
    """

    def __init__(self, layers: Sequence[str] = ()) -> None:
        self.one_by_one = False
        self._layers = layers
        self._warned: set[str] = set()

    def __call__(self, function: Callable[[Any], Any], arguments: Any) -> Any:
        """`function` of each row of `arguments`, each `[tasks, ...]`; results likewise."""
        if self.one_by_one:
            return _one_after_the_other(function, arguments)
        traced = False

        def noting(row: Any) -> Any:
            nonlocal traced
            result = function(row)
            traced = True
            return result

        with custom_gradients_noted() as own_gradients, fallbacks_noted() as noted:
            try:
                with _conversion_errors_hidden(), vectorized_in_place(), converted_exactly():
                    result = tf.vectorized_map(noting, arguments, warn=False)
            except Exception:
                if not traced:  # of the function itself
                    raise
                own_gradients.append(("", "control flow"))
        own_gradients += [(name, f"operation {kind}") for name, kind in noted if uneven(kind)]
        if own_gradients:
            self.one_by_one = True
            noted = own_gradients
            result = _one_after_the_other(function, arguments)
        layers = layers_of(noted, self._layers)
        warn({name: kind for name, kind in layers.items() if name not in self._warned})
        self._warned.update(layers)
        return result


def _one_after_the_other(function: Callable[[Any], Any], arguments: Any) -> Any:
    def row(number: int) -> Any:
        return tf.nest.map_structure(lambda part: part[number], arguments)

    count = tf.nest.flatten(arguments)[0].shape[0]
    if count is not None and count <= _MOST_UNROLLED:
        results = [function(row(number)) for number in range(count)]
        return tf.nest.map_structure(lambda *parts: tf.stack(parts), *results)
    # A loop has to know what it gives; this evaluation is not part of what is computed.
    signature = tf.nest.map_structure(
        lambda part: tf.TensorSpec(part.shape, part.dtype), function(row(0))
    )
    return tf.map_fn(function, arguments, fn_output_signature=signature)


@contextlib.contextmanager
def _conversion_errors_hidden() -> Iterator[None]:
    """Without what TensorFlow logs when a conversion fails: pages, for what is no error here."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
