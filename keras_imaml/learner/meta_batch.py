"""A meta-batch in parts, so that a large network fits and every core has some of the tasks."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml.algorithms import Algorithm, MetaGradient
from keras_imaml.algorithms.algorithm import add_gradients
from keras_imaml.batching.chunks import over_chunks, part_size, tasks_at_once
from keras_imaml.distribution.pipelines import pipelines, run_lanes
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
    limit, lanes = _limits(objective, tasks_per_chunk)
    if lanes == 1 and part_size(objective.tasks.count, limit) is None:
        return _through_trunk(algorithm, objective, variables)
    missing: set[int] = set()  # variables without a gradient, noted when the graph is built

    def whole(part: TaskObjective) -> tuple[Any, list[tf.Tensor]]:
        meta = _through_trunk(algorithm, part, variables)
        missing.update(i for i, g in enumerate(meta.gradients) if g is None)
        means = [
            tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
            for v, g in zip(variables, meta.gradients, strict=True)
        ]
        means += [meta.diagnostics[name] for name in algorithm.diagnostics]
        share = tf.reduce_sum(tf.cast(meta.valid, objective.dtype))
        sums = [share, *(tf.cast(share, mean.dtype) * mean for mean in means)]
        return ((meta.query_losses, meta.query_outputs, meta.valid),), sums

    scalars = [tf.zeros([], objective.dtype) for _ in algorithm.diagnostics]
    zeros = [tf.zeros([], objective.dtype), *(tf.zeros(v.shape, v.dtype) for v in variables)]
    ((losses, outputs, valid),), (count, *sums) = run_lanes(
        lambda lane: _run_chunks(whole, lane, limit, [*zeros, *scalars]), objective, lanes
    )
    means = [total / tf.cast(tf.maximum(count, 1), total.dtype) for total in sums]
    gradients, diagnostics = means[: len(variables)], means[len(variables) :]
    return _finite(
        MetaGradient(
            gradients=[None if i in missing else g for i, g in enumerate(gradients)],
            per_task=None,
            query_losses=losses,
            query_outputs=outputs,
            valid=valid,
            diagnostics=dict(zip(algorithm.diagnostics, diagnostics, strict=True)),
        )
    )


def outcome(
    algorithm: Algorithm,
    objective: TaskObjective,
    tasks_per_chunk: int | None,
    adapt: bool = True,
) -> Outcome:
    """Adapt (or not) to at most `tasks_per_chunk` tasks at a time; evaluate the query sets."""
    one = _adapted if adapt else _unadapted
    return _in_parts(lambda part: (one(algorithm, part),), objective, tasks_per_chunk)[0]


def outcomes(
    algorithm: Algorithm, objective: TaskObjective, tasks_per_chunk: int | None
) -> tuple[Outcome, Outcome]:
    """The outcome without adaptation, and that with it."""
    both = _in_parts(
        lambda part: (_unadapted(algorithm, part), _adapted(algorithm, part)),
        objective,
        tasks_per_chunk,
        count=2,
    )
    return both[0], both[1]


def _adapted(algorithm: Algorithm, part: TaskObjective) -> Outcome:
    adapted = algorithm.adapt(part)
    return _at(part, adapted.phi, part.valid & adapted.valid)


def _unadapted(algorithm: Algorithm, part: TaskObjective) -> Outcome:
    return _at(part, algorithm.inner_problem(part).start(), part.valid)


def _at(part: TaskObjective, phi: tf.Tensor, valid: tf.Tensor) -> Outcome:
    losses, outputs = part.query_losses(phi)
    return Outcome(losses, outputs, valid & tf.math.is_finite(losses))


def _in_parts(
    function: Callable[[TaskObjective], tuple[Outcome, ...]],
    objective: TaskObjective,
    tasks_per_chunk: int | None,
    count: int = 1,
) -> list[Outcome]:
    """Call `function`, which gives `count` outcomes, for parts of a meta-batch."""
    limit, lanes = _limits(objective, tasks_per_chunk)

    def whole(part: TaskObjective) -> tuple[Any, list[tf.Tensor]]:
        return tuple(tuple(found) for found in function(part.after_trunk())), []

    found, _ = run_lanes(
        lambda lane: _run_chunks(whole, lane, limit, count=count), objective, lanes
    )
    return [Outcome(*one) for one in found]


def _through_trunk(
    algorithm: Algorithm, objective: TaskObjective, variables: Sequence[Any]
) -> MetaGradient:
    """`algorithm.meta_gradient` for the features of a trunk, and from there for its weights."""
    if objective.outer.trunk is None:
        return _finite(algorithm.meta_gradient(objective, variables))
    with tf.GradientTape() as tape:
        after_trunk = objective.after_trunk()
    meta = algorithm.meta_gradient(after_trunk, [*variables, *after_trunk.trunk_outputs])
    own, slopes = meta.gradients[: len(variables)], meta.gradients[len(variables) :]
    reached = [
        (f, g) for f, g in zip(after_trunk.trunk_outputs, slopes, strict=True) if g is not None
    ]
    if not reached:
        return _finite(meta._replace(gradients=own))
    before = tape.gradient(
        [feature for feature, _ in reached],
        list(variables),
        output_gradients=[slope for _, slope in reached],
    )
    return _finite(meta._replace(gradients=list(map(add_gradients, own, before))))


def _finite(meta: MetaGradient) -> MetaGradient:
    """Without a gradient of NaN or infinity, which marks its tasks as bad.

    Tasks that are not valid add nothing to it, but broken meta-parameters do: a learned lambda of
    NaN, weights that overflow.
    """
    values = [g.values if isinstance(g, tf.IndexedSlices) else g for g in meta.gradients]
    checks = [tf.reduce_all(tf.math.is_finite(v)) for v in values if v is not None]
    finite = tf.reduce_all(tf.stack(checks))

    def clear(g: Any) -> Any:
        if isinstance(g, tf.IndexedSlices):
            return tf.IndexedSlices(clear(g.values), g.indices, g.dense_shape)
        return None if g is None else tf.where(finite, g, tf.zeros_like(g))

    return meta._replace(gradients=[clear(g) for g in meta.gradients], valid=meta.valid & finite)


def _run_chunks(
    function: Callable[[TaskObjective], tuple[Any, list[tf.Tensor]]],
    objective: TaskObjective,
    limit: int | None,
    zeros: Sequence[tf.Tensor] = (),
    count: int = 1,
) -> tuple[Any, list[tf.Tensor]]:
    """Call `function` for parts of at most `limit` tasks; see `over_chunks`.

    It gives `count` times the losses, outputs and soundness of tasks, and sums.
    """
    tasks = objective.tasks.count
    size = part_size(tasks, limit)
    if size is None:
        return function(objective)
    dtypes = (objective.dtype, objective.output_dtypes(), tf.bool)
    return over_chunks(
        lambda first: function(objective.part(first, size)),
        tasks,
        size,
        (dtypes,) * count,
        zeros,
    )


def _limits(objective: TaskObjective, tasks_per_chunk: int | None) -> tuple[int | None, int]:
    """The most tasks of a pipeline at a time (None: any number), and how many pipelines."""
    tasks = objective.tasks.count
    lanes = min(pipelines(), tasks) if isinstance(tasks, int) else pipelines()
    if tasks_per_chunk is not None:
        lanes = min(lanes, tasks_per_chunk)  # which counts the tasks of all pipelines together
        return tasks_per_chunk // lanes, lanes
    if lanes == 1 or not isinstance(tasks, int):
        return None, lanes
    rows = tf.nest.flatten(objective.tasks.support_x)[0].shape[1]
    share = -(-tasks // lanes)
    return tasks_at_once(objective.inner.network.model, share, rows), lanes
