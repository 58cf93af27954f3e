"""The outer loss at adapted weights, and its first derivatives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import length
from keras_imaml.batching.chunks import is_whole, over_chunks, slice_tasks, tasks_at_once
from keras_imaml.objectives.task_objective import TaskObjective


class QueryGradient(NamedTuple):
    """The query losses of a meta-batch, differentiated for phi and at fixed phi.

    Attributes:
        losses: `[tasks]`.
        outputs: The network's outputs on the query sets.
        valid: `[tasks]`, bool: tasks that were valid before, with a loss and a gradient that are
            finite.
        for_phi: `[tasks, size]`, `dL_t/dphi_t` of the valid tasks; anything for the others.
        direct: One (or None) for each variable: the sum of `dL_t/dm` over the valid tasks.
    """

    losses: tf.Tensor
    outputs: Any
    valid: tf.Tensor
    for_phi: tf.Tensor
    direct: list[Any]


def query_gradient(
    objective: TaskObjective, phi: tf.Tensor, valid: tf.Tensor, variables: Sequence[Any]
) -> QueryGradient:
    """Evaluate and differentiate the query losses, as many tasks at once as the caches hold.

    A query set is the largest thing that a meta-step evaluates, and it is evaluated once; its
    activations for all tasks together would go through the main memory.

    Args:
        objective: The losses of the meta-batch.
        phi: `[tasks, size]`.
        valid: `[tasks]`, bool.
        variables: The meta-parameters m, and trunk outputs (`TaskObjective.after_trunk`).
            Weights that adapt enter through phi alone.
    """
    network, tasks = objective.outer.network, objective.tasks
    shared = {id(v) for v in (*network.parameters.shared, *objective.trunk_outputs)}
    direct = [v for v in variables if id(v) in shared]
    count = tasks.count
    at_once = tasks_at_once(network.model, count, tf.nest.flatten(tasks.query_x)[0].shape[1])
    if objective.trunk_outputs:  # they have a gradient for each task, which is not summed
        at_once = count
    whole = is_whole(count, at_once)

    def chunk(first: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        part = objective if whole else objective.part(first, at_once)
        here = phi if whole else slice_tasks(phi, first, at_once)
        good = valid if whole else slice_tasks(valid, first, at_once)
        with tf.GradientTape(persistent=bool(direct)) as tape:
            tape.watch(here)
            part.watch(tape)
            losses, outputs = part.query_losses(here)
        for_phi = tape.gradient(losses, here)
        # A gradient whose square overflows would stay in an optimizer that averages squares.
        good &= tf.math.is_finite(losses) & tf.math.is_finite(length(for_phi))
        found: list[Any] = []
        if direct:  # even for no variables, TensorFlow would trace a pass through the network
            found = tape.gradient(losses, direct, output_gradients=tf.cast(good, losses.dtype))
        # Features of support sets have none where nothing adapts: zeros would go through the trunk.
        more = [
            g if g is None and whole else _dense(v, g) for v, g in zip(direct, found, strict=True)
        ]
        return (losses, outputs, good, for_phi), more

    dtypes = None if whole else (phi.dtype, objective.output_dtypes(), tf.bool, phi.dtype)
    zeros = [] if whole else [tf.zeros(v.shape, v.dtype) for v in direct]
    (losses, outputs, good, for_phi), sums = over_chunks(chunk, count, at_once, dtypes, zeros)
    by_id = {id(v): value for v, value in zip(direct, sums, strict=True)}
    return QueryGradient(
        losses,
        outputs,
        good,
        tf.ensure_shape(for_phi, phi.shape),
        [by_id.get(id(v)) for v in variables],
    )


def _dense(variable: Any, gradient: Any) -> tf.Tensor:
    return tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
