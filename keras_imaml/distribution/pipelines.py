"""One pipeline of tasks a core, instead of many cores for each small operation."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.distribution.replicas import is_distributed
from keras_imaml.objectives.task_objective import TaskObjective


def parallel_tasks(cores: int | None = None) -> int:
    """Let every core work on tasks of its own; call it before TensorFlow runs anything.

    By default TensorFlow splits every operation over all cores, and they wait for one another
    after each of the thousands of small operations of a meta-step. Tasks are independent: with one
    thread an operation, a learner sends each core through parts of the meta-batch, which takes
    about half the time. Meta-gradients are the same to rounding. The setting is TensorFlow's own,
    `tf.config.threading`, and applies to the whole process; a learner finds it there.

    Args:
        cores: How many. Defaults to `None`: those that this process may use.

    Returns:
        The number of cores.

    Raises:
        RuntimeError: If TensorFlow has already started its threads.

    Example:

    ```python
    import keras_imaml as ki

    ki.parallel_tasks()                    # first of all
    learner = ki.MetaLearner(ki.models.Conv4(5), ki.IMAML())
    ```
    """
    if cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    cores = check_integer("cores", cores, minimum=1)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
    except RuntimeError as error:
        raise RuntimeError(
            "keras_imaml.parallel_tasks() came too late: TensorFlow has already started its "
            "threads. Call it before anything else runs, at the top of the program."
        ) from error
    return cores


def pipelines() -> int:
    """How many parts of a meta-batch to work on at the same time: 1 without `parallel_tasks`."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1
    if tf.config.list_logical_devices("GPU"):
        return 1  # all tasks together are what fills a GPU
    cores = tf.config.threading.get_inter_op_parallelism_threads()
    strategy = tf.distribute.get_strategy()
    # Several devices of one process, which on processors are parts of the same one.
    devices = len(strategy.extended.worker_devices) if is_distributed(strategy) else 1
    return max(1, cores // devices)


def run_lanes(
    function: Callable[[TaskObjective], tuple[Any, list[tf.Tensor]]],
    objective: TaskObjective,
    lanes: int,
) -> tuple[Any, list[tf.Tensor]]:
    """Call `function` for `lanes` parts of the tasks, none of which waits for another.

    Args:
        function: From the objective of a part to tensors `[tasks of the part, ...]`, and tensors
            to be added up. It is traced once, or twice if the parts cannot have equal sizes.
        objective: Of all tasks.
        lanes: How many parts; no more than there are tasks, if that is known.

    Returns:
        The tensors of all parts joined, `[tasks, ...]`, and the sums.
    """
    if lanes == 1:
        return function(objective)
    # A call of its own for each lane: TensorFlow optimizes the function once, and not as many
    # times as there are lanes.
    traced = tf.function(
        lambda *part: function(objective.replace(*part)),
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
    count, results = objective.tasks.count, []
    for lane in range(lanes):
        first, end = count * lane // lanes, count * (lane + 1) // lanes
        if isinstance(count, int):
            part = objective.part(first, end - first)
            results.append(traced(part.tasks, part.valid, part.numbers))
        else:
            results.append(_some_or_none(traced, objective, first, end))
    joined = tf.nest.map_structure(
        lambda *parts: tf.concat(parts, axis=0), *(parts for parts, _ in results)
    )
    return joined, [tf.add_n(more) for more in zip(*(sums for _, sums in results), strict=True)]


def _some_or_none(
    traced: Callable[..., Any], objective: TaskObjective, first: tf.Tensor, end: tf.Tensor
) -> tuple[Any, list[tf.Tensor]]:
    """The tasks from `first` to `end`, of which there may be none when the graph runs."""
    start = tf.minimum(first, objective.tasks.count - 1)  # a task that is not ours, marked as bad
    stop = tf.maximum(end, start + 1)
    tasks, numbers = tf.nest.map_structure(
        lambda x: x[start:stop], (objective.tasks, objective.numbers)
    )
    parts, sums = traced(tasks, objective.valid[start:stop] & (end > first), numbers)
    return tf.nest.map_structure(lambda part: part[: end - first], parts), sums
