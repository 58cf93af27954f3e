"""A meta-batch in parts, so that a large network fits: less memory, the same meta-gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_imaml.algorithms import Algorithm, MetaGradient
from keras_imaml.chunks import over_chunks, part_size
from keras_imaml.objective import TaskObjective


class Outcome(NamedTuple):
    """The query sets of a meta-batch after adaptation.

    Attributes:
        losses: `[tasks]`.
        outputs: The network's outputs.
        sound: `[tasks]`, bool.
    """

    losses: tf.Tensor
    outputs: Any
    sound: tf.Tensor


def meta_gradient(
    algorithm: Algorithm,
    objective: TaskObjective,
    variables: Sequence[Any],
    tasks_per_chunk: int | None,
) -> MetaGradient:
    """`algorithm.meta_gradient`, of as many tasks at once as `tasks_per_chunk` allows.

    Of the result, `per_task` is left empty if the tasks are split: it would take the memory of as
    many copies of the weights as there are tasks.
    """
    tasks = objective.tasks.count
    size = part_size(tasks, tasks_per_chunk)
    if size is None:
        return algorithm.meta_gradient(objective, variables)
    missing: set[int] = set()  # variables without a gradient, noted when the graph is built

    def chunk(first: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        meta = algorithm.meta_gradient(objective.part(first, size), variables)
        missing.update(i for i, g in enumerate(meta.gradients) if g is None)
        means = [
            tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
            for v, g in zip(variables, meta.gradients, strict=True)
        ]
        means += [meta.diagnostics[name] for name in algorithm.diagnostics]
        share = tf.reduce_sum(tf.cast(meta.sound, objective.dtype))
        sums = [share, *(tf.cast(share, mean.dtype) * mean for mean in means)]
        return (meta.query_losses, meta.query_outputs, meta.sound), sums

    scalars = [tf.zeros([], objective.dtype) for _ in algorithm.diagnostics]
    (losses, outputs, sound), (count, *sums) = over_chunks(
        chunk,
        tasks,
        size,
        (objective.dtype, objective.output_dtypes(), tf.bool),
        [tf.zeros([], objective.dtype), *(tf.zeros(v.shape, v.dtype) for v in variables), *scalars],
    )
    means = [total / tf.cast(tf.maximum(count, 1), total.dtype) for total in sums]
    gradients, diagnostics = means[: len(variables)], means[len(variables) :]
    return MetaGradient(
        gradients=[None if i in missing else g for i, g in enumerate(gradients)],
        per_task=None,
        query_losses=losses,
        query_outputs=outputs,
        sound=sound,
        diagnostics=dict(zip(algorithm.diagnostics, diagnostics, strict=True)),
    )


def outcome(
    algorithm: Algorithm,
    objective: TaskObjective,
    tasks_per_chunk: int | None,
    adapt: bool = True,
) -> Outcome:
    """Adapt (or not) to as many tasks at once as `tasks_per_chunk` allows; evaluate the queries."""
    tasks = objective.tasks.count
    size = part_size(tasks, tasks_per_chunk)

    def chunk(first: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        part = objective if size is None else objective.part(first, size)
        if adapt:
            adapted = algorithm.adapt(part)
            phi, sound = adapted.phi, part.sound & adapted.sound
        else:
            phi, sound = algorithm.inner_problem(part).start(), part.sound
        losses, outputs = part.query_losses(phi)
        return (losses, outputs, sound & tf.math.is_finite(losses)), []

    dtypes = None if size is None else (objective.dtype, objective.output_dtypes(), tf.bool)
    return Outcome(*over_chunks(chunk, tasks, size or tasks, dtypes)[0])
