"""The meta-gradient and the outcome of a meta-batch, part by part where that saves memory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml._utils.tracing import builds_graph
from keras_imaml.algorithms import Algorithm, MetaGradient
from keras_imaml.algorithms.algorithm import add_gradients
from keras_imaml.objectives.after_trunk import after_trunk
from keras_imaml.objectives.task_objective import TaskObjective


class Outcome(NamedTuple):
    """The query sets of a meta-batch after adaptation.

    Attributes:
        losses: `[tasks]`.
        outputs: The network's outputs.
        valid: `[tasks]`, bool.
    """

    losses: tf.Tensor
    outputs: Any
    valid: tf.Tensor


@builds_graph
def meta_gradient(
    algorithm: Algorithm,
    objective: TaskObjective,
    variables: Sequence[Any],
    tasks_per_chunk: int | None,
) -> MetaGradient:
    """`algorithm.meta_gradient`, of at most `tasks_per_chunk` tasks at a time.

    Of the result, `per_task` is left empty if the tasks are split: it would take the memory of as
    many copies of the weights as there are tasks.
    """
    objective = objective.planned(tasks_per_chunk)
    if not objective.plan.splits(objective.tasks.count):
        return _through_trunk(algorithm, objective, variables)
    missing: set[int] = set()  # variables without a gradient, noted when the graph is built

    def of_part(part: TaskObjective) -> tuple[Any, list[tf.Tensor]]:
        meta = _through_trunk(algorithm, part, variables)
        missing.update(i for i, g in enumerate(meta.sums) if g is None)
        sums = [
            tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
            for v, g in zip(variables, meta.sums, strict=True)
        ]
        return (meta.query_losses, meta.query_outputs, meta.valid, meta.figures), sums

    figures = dict.fromkeys(algorithm.diagnostics, objective.dtype)
    dtypes = (objective.dtype, objective.output_dtypes(), tf.bool, figures)
    zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
    results, sums = objective.plan.map_reduce(of_part, objective, (), dtypes, zeros)
    known = [None if i in missing else g for i, g in enumerate(sums)]
    return _finite(MetaGradient(known, None, *results))


@builds_graph
def outcome(
    algorithm: Algorithm,
    objective: TaskObjective,
    tasks_per_chunk: int | None,
    adapt: bool = True,
) -> Outcome:
    """Adapt (or not) to at most `tasks_per_chunk` tasks at a time; evaluate the query sets."""
    outcome_of = _adapted if adapt else _unadapted
    return _of_each(objective, tasks_per_chunk, lambda part: outcome_of(algorithm, part))[0]


@builds_graph
def outcomes(
    algorithm: Algorithm, objective: TaskObjective, tasks_per_chunk: int | None
) -> list[Outcome]:
    """The outcome without adaptation, and that with it."""
    return _of_each(
        objective,
        tasks_per_chunk,
        lambda part: _unadapted(algorithm, part),
        lambda part: _adapted(algorithm, part),
    )


def _adapted(algorithm: Algorithm, part: TaskObjective) -> Outcome:
    adapted = algorithm.adapt(part)
    return _at(part, adapted.phi, part.valid & adapted.valid)


def _unadapted(algorithm: Algorithm, part: TaskObjective) -> Outcome:
    return _at(part, algorithm.inner_problem(part).start(), part.valid)


def _at(part: TaskObjective, phi: tf.Tensor, valid: tf.Tensor) -> Outcome:
    losses, outputs = part.query_losses(phi)
    return Outcome(losses, outputs, valid & tf.math.is_finite(losses))


def _of_each(
    objective: TaskObjective,
    tasks_per_chunk: int | None,
    *functions: Callable[[TaskObjective], Outcome],
) -> list[Outcome]:
    """What each of some functions gives for a meta-batch; they share the trunk."""

    def of_part(part: TaskObjective) -> tuple[Any, list[tf.Tensor]]:
        part = after_trunk(part)
        return [tuple(function(part)) for function in functions], []

    objective = objective.planned(tasks_per_chunk)
    dtypes = [(objective.dtype, objective.output_dtypes(), tf.bool)] * len(functions)
    results, _ = objective.plan.map_reduce(of_part, objective, (), dtypes)
    return [Outcome(*result) for result in results]


def _through_trunk(
    algorithm: Algorithm, objective: TaskObjective, variables: Sequence[Any]
) -> MetaGradient:
    """`algorithm.meta_gradient` for the features of a trunk, and from there for its weights."""
    if objective.outer.trunk is None:
        return _finite(algorithm.meta_gradient(objective, variables))
    with tf.GradientTape() as tape:
        objective_after = after_trunk(objective)
    meta = algorithm.meta_gradient(objective_after, [*variables, *objective_after.trunk_outputs])
    for_variables, slopes = meta.sums[: len(variables)], meta.sums[len(variables) :]
    reached = [
        (f, g) for f, g in zip(objective_after.trunk_outputs, slopes, strict=True) if g is not None
    ]
    if not reached:
        return _finite(meta._replace(sums=for_variables))
    before = tape.gradient(
        [feature for feature, _ in reached],
        list(variables),
        output_gradients=[slope for _, slope in reached],
    )
    return _finite(meta._replace(sums=list(map(add_gradients, for_variables, before))))


def _finite(meta: MetaGradient) -> MetaGradient:
    """Without a gradient of NaN or infinity, which marks its tasks as bad.

    Tasks that are not valid add nothing to it, but broken meta-parameters do: a learned lambda of
    NaN, weights that overflow.
    """
    values = [g.values if isinstance(g, tf.IndexedSlices) else g for g in meta.sums]
    checks = [tf.reduce_all(tf.math.is_finite(v)) for v in values if v is not None]
    if not checks:
        return meta
    finite = tf.reduce_all(tf.stack(checks))

    def clear(g: Any) -> Any:
        if isinstance(g, tf.IndexedSlices):
            return tf.IndexedSlices(clear(g.values), g.indices, g.dense_shape)
        return None if g is None else tf.where(finite, g, tf.zeros_like(g))

    return meta._replace(sums=[clear(g) for g in meta.sums], valid=meta.valid & finite)
