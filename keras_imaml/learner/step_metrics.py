"""What a step tells the metrics of a learner."""

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import compiled_loss, loss_tracker
from keras_imaml._utils.outputs import targets_of_outputs
from keras_imaml._utils.structures import with_none
from keras_imaml.learner.meta_batch import Outcome
from keras_imaml.learner.weighted_loss import weighted_loss
from keras_imaml.objectives.task_objective import TaskObjective

_OF_TASKS = ("bad_tasks", "transductive")  # beside those of the algorithm


def make_diagnostics(names: tuple[str, ...]) -> dict[str, keras.metrics.Mean]:
    """Means of the numbers that an algorithm reports, and of what is told of the tasks."""
    return {name: keras.metrics.Mean(name=name) for name in (*names, *_OF_TASKS)}


def check_metric_names(metrics: Any, diagnostics: Collection[str]) -> None:
    """Refuse metrics whose name is that of a diagnostic, by a `ValueError`."""
    for metric in keras.tree.flatten(metrics):
        name = metric if isinstance(metric, str) else getattr(metric, "name", None)
        name = name or getattr(metric, "__name__", None)
        if name in diagnostics:
            raise ValueError(
                "Invalid value for `metrics`. Expected metrics of other names than the "
                f"diagnostics of the learner, which are {sorted(diagnostics)}: give this one "
                f"another name, such as name='my_{name}'. Received: a metric named {name!r}"
            )


def update_metrics(
    learner: Any,
    objective: TaskObjective,
    after: Outcome,
    real: tf.Tensor,
    diagnostics: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """Update all metrics of a `MetaLearner` with the valid tasks.

    Args:
        learner: The learner.
        objective: The tasks of this step.
        after: What came of their query sets.
        real: `[tasks]`, False where a task only fills an empty replica.
        diagnostics: Numbers of the algorithm; none in evaluation.

    Returns:
        The values by name, without the diagnostics that nothing was reported of.
    """
    losses, outputs, valid = after
    sound_tasks, real_tasks, bad_tasks = (
        tf.reduce_sum(tf.cast(mask, tf.float32)) for mask in (valid, real, real & ~valid)
    )

    present = objective.tasks.present(query=True)

    def flat(x: tf.Tensor) -> tf.Tensor:
        if present is not None:
            return tf.boolean_mask(x, present & valid[:, None])
        kept = tf.boolean_mask(x, valid)
        return tf.reshape(kept, tf.concat([[-1], tf.shape(kept)[2:]], axis=0))

    y, outputs = tf.nest.map_structure(flat, (objective.tasks.query_y, outputs))
    names = learner.output_names
    y = targets_of_outputs(with_none(y), outputs, names, learner.loss)
    weights = None if present is None else flat(objective.tasks.query_weights)
    loss_tracker(learner).update_state(tf.boolean_mask(losses, valid))
    compiled = compiled_loss(learner)
    if compiled.metrics:  # updates the mean loss of each output
        if weights is None:
            compiled(y, outputs)
        else:
            weighted_loss(compiled, learner.loss, y, outputs, weights, names)
    means = learner.diagnostics
    for name, value in diagnostics.items():
        _add(
            means[name],
            tf.math.multiply_no_nan(tf.cast(value, tf.float32), sound_tasks),
            sound_tasks,
        )
    _add(means["bad_tasks"], bad_tasks, real_tasks)
    _add(means["transductive"], tf.constant(float(learner.queries_interact)), tf.constant(1.0))
    unused = set(means) - {*diagnostics, *_OF_TASKS}
    logs = learner.compute_metrics(None, y, outputs, weights)
    return nan_loss_if_all_invalid({name: v for name, v in logs.items() if name not in unused})


def _add(mean: keras.metrics.Mean, total: tf.Tensor, count: tf.Tensor) -> None:
    """Add to a mean what `update_state` would, in a fifth of its operations."""
    mean.total.assign_add(total)
    mean.count.assign_add(count)


def nan_loss_if_all_invalid(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs whose loss is NaN if every task was bad: the mean of nothing would be 0, the best."""
    if not {"loss", "bad_tasks"} <= logs.keys():
        return logs
    loss = tf.convert_to_tensor(logs["loss"])
    sound = tf.cast(tf.convert_to_tensor(logs["bad_tasks"]) < 1, loss.dtype)
    # 1, or 0 / 0: no constant NaN, which would stop `tf.debugging.enable_check_numerics`.
    return {**logs, "loss": loss * (sound / sound)}
