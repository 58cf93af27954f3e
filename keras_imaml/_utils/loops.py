"""Loops over all tasks of a meta-batch at once, in which each task stops by itself."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import tensorflow as tf


class _State(Protocol):
    @property
    def active(self) -> tf.Tensor: ...


S = TypeVar("S", bound=_State)


def while_active(body: Callable[[S], S], start: S, most_steps: int | tf.Tensor | None) -> S:
    """Repeat `state = body(state)` while any task is active.

    Args:
        body: From a state to the next. Tasks that are not active stay where they are.
        start: The first state, a named tuple; its field `active` is `[tasks]`, bool.
        most_steps: The largest number of repetitions.
    """
    state: Any = type(start)

    def next_fields(*fields: Any) -> Any:
        after = body(state(*fields))
        if not tf.executing_eagerly():
            # Shapes that a network of the user forgets are those that the loop began with.
            for tensor, given in zip(tf.nest.flatten(after), tf.nest.flatten(fields), strict=True):
                tensor.set_shape(given.shape)
        return after

    return state(
        *tf.while_loop(
            lambda *fields: tf.reduce_any(state(*fields).active),
            next_fields,
            start,
            maximum_iterations=most_steps,
            parallel_iterations=1,
        )
    )
