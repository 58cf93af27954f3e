"""The outer loss at adapted weights, and its first derivatives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.vectors import length
from keras_imaml.objectives.meta_batch_plan import MetaBatchPlan
from keras_imaml.objectives.task_objective import TaskObjective


class QueryGradient(NamedTuple):
    """The query losses of a meta-batch, differentiated for phi and at fixed phi.

    Attributes:
        losses: `[tasks]`.
        outputs: The network's outputs on the query sets.
        valid: `[tasks]`, bool: tasks that were valid, and whose loss and gradient are finite.
        for_phi: `[tasks, size]`, `dL_t/dphi_t`; undefined for invalid tasks.
        direct: The sum of `dL_t/dm` over the valid tasks for each variable m, or None.
    """

    losses: tf.Tensor
    outputs: Any
    valid: tf.Tensor
    for_phi: tf.Tensor
    direct: list[Any]


def query_gradient(
    objective: TaskObjective, phi: tf.Tensor, valid: tf.Tensor, variables: Sequence[Any]
) -> QueryGradient:
    """Evaluate and differentiate the query losses, as many tasks at once as fit into the caches.

    Query sets are the largest batches of a meta-step, and each is evaluated once. The activations
    of all tasks together would go through main memory.

    Args:
        objective: The losses of the meta-batch.
        phi: `[tasks, size]`.
        valid: `[tasks]`, bool.
        variables: The meta-parameters m, and trunk outputs (`TaskObjective.trunk_outputs`).
            Weights that adapt enter through phi alone.
    """
    of_loss = objective.outer.loss_variables
    shared = {id(v) for v in (*objective.parameters.shared, *of_loss, *objective.trunk_outputs)}
    direct = [v for v in variables if id(v) in shared]
    # Gradients of trunk outputs are per task, and chunks would sum them.
    plan = MetaBatchPlan() if objective.trunk_outputs else objective.plan.for_queries
    is_single_chunk = not plan.splits(objective.tasks.count)

    def chunk(
        part: TaskObjective, phi_of_chunk: tf.Tensor, valid_in_chunk: tf.Tensor
    ) -> tuple[Any, list[tf.Tensor]]:
        with tf.GradientTape(persistent=bool(direct)) as tape:
            tape.watch(phi_of_chunk)
            part.watch(tape)
            losses, outputs = part.query_losses(phi_of_chunk)
        for_phi = tape.gradient(losses, phi_of_chunk)
        # A gradient whose square overflows would stay in an optimizer that averages squares.
        valid_in_chunk &= tf.math.is_finite(losses) & tf.math.is_finite(length(for_phi))
        direct_gradients: list[Any] = []
        if direct:  # with an empty list, TensorFlow would still trace a pass through the network
            direct_gradients = tape.gradient(
                losses, direct, output_gradients=tf.cast(valid_in_chunk, losses.dtype)
            )
        # Keep None for unused support features, so that zeros are not back-propagated through
        # the trunk.
        direct_sums = [
            g if g is None and is_single_chunk else _dense(v, g)
            for v, g in zip(direct, direct_gradients, strict=True)
        ]
        return (losses, outputs, valid_in_chunk, for_phi), direct_sums

    dtypes = () if is_single_chunk else (phi.dtype, objective.output_dtypes(), tf.bool, phi.dtype)
    zeros = [] if is_single_chunk else [tf.zeros(v.shape, v.dtype) for v in direct]
    (losses, outputs, valid, for_phi), sums = plan.map_reduce(
        chunk, objective, (phi, valid), dtypes, zeros
    )
    by_id = {id(v): value for v, value in zip(direct, sums, strict=True)}
    return QueryGradient(
        losses,
        outputs,
        valid,
        tf.ensure_shape(for_phi, phi.shape),
        [by_id.get(id(v)) for v in variables],
    )


def _dense(variable: Any, gradient: Any) -> tf.Tensor:
    return tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
