"""The weights of one task in a network that is called eagerly, without a graph."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from keras_imaml._compat.inlining import functions_inlined
from keras_imaml._compat.lora import low_rank_products
from keras_imaml._compat.random_streams import RandomStreams
from keras_imaml._compat.recurrence import unrolled_recurrence
from keras_imaml._compat.second_derivatives import exact_moments
from keras_imaml.batching.task_scope import TaskScope


@contextlib.contextmanager
def weights_of_one_task(
    variables: Sequence[keras.Variable], values: Sequence[tf.Tensor], streams: RandomStreams
) -> Iterator[None]:
    """Within it, layers compute as in `TaskNetwork`, and draw the same numbers at every call.

    What they assign is dropped, and the state of the random streams stays as it is.

    Args:
        variables: Variables to replace.
        values: What they are within.
        streams: What layers draw from.
    """
    task_streams = RandomStreams(streams.unseeded)
    with (
        TaskScope(list(zip(variables, values, strict=True)), collect_losses=True),
        task_streams.of_task(tf.constant(0), task_streams.join()),
        exact_moments(),
        low_rank_products(),
        unrolled_recurrence(),
        functions_inlined(),
    ):
        yield
