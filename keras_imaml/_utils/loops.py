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
        return _of_known_shapes(body(state(*fields)), fields)

    return state(
        *tf.while_loop(
            lambda *fields: tf.reduce_any(state(*fields).active),
            next_fields,
            start,
            maximum_iterations=most_steps,
            parallel_iterations=1,
        )
    )


def figures_by_step(
    body: Callable[[S], S],
    start: S,
    steps: int,
    figure: Callable[[S], tf.Tensor],
    dtype: tf.DType,
) -> tf.Tensor:
    """A figure of every state that `state = body(state)` comes to, `[tasks, steps]`.

    Args:
        body: See `while_active`.
        start: See `while_active`.
        steps: The number of repetitions. Tasks that are no longer active keep their figure.
        figure: From a state to a tensor `[tasks]`.
        dtype: The dtype of the figure.
    """

    def next_state(number: tf.Tensor, figures: tf.TensorArray, fields: S) -> Any:
        after = _of_known_shapes(body(fields), fields)
        return number + 1, figures.write(number, figure(after)), after

    _, figures, _ = tf.while_loop(
        lambda number, *_: number < steps,
        next_state,
        (tf.constant(0), tf.TensorArray(dtype, steps), start),
        parallel_iterations=1,
    )
    return tf.transpose(figures.stack())


def _of_known_shapes(after: S, fields: Any) -> S:
    """The state after a step; shapes that a network of the user forgets are those before it."""
    if not tf.executing_eagerly():
        for tensor, given in zip(tf.nest.flatten(after), tf.nest.flatten(fields), strict=True):
            tensor.set_shape(given.shape)
    return after
