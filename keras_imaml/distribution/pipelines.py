"""One pipeline of tasks per core, instead of all cores for each small operation."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.distribution.replicas import is_distributed
from keras_imaml.objectives.task_objective import TaskObjective


def parallel_tasks(cores: int | None = None) -> int:
    """Let each core work on its own tasks. Call it before TensorFlow runs anything.

    By default TensorFlow splits every operation over all cores. They wait for one another after
    each of the thousands of small operations of a meta-step. Tasks are independent: with one thread
    per operation, each core works on a part of the meta-batch, which takes about half the time.
    Meta-gradients are the same to rounding. This sets `tf.config.threading` of TensorFlow, which
    applies to the whole process.

    Args:
        cores: Number of cores. Defaults to `None`: all that this process may use.

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
    """The number of parts of a meta-batch that run in parallel; 1 without `parallel_tasks`."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1
    if tf.config.list_logical_devices("GPU"):
        return 1  # a GPU is fastest with all tasks in one batch
    cores = tf.config.threading.get_inter_op_parallelism_threads()
    strategy = tf.distribute.get_strategy()
    # Logical CPU devices of one process share its cores.
    devices = len(strategy.extended.worker_devices) if is_distributed(strategy) else 1
    return max(1, cores // devices)


def run_lanes(
    function: Callable[[TaskObjective], tuple[Any, list[tf.Tensor]]],
    objective: TaskObjective,
    lanes: int,
) -> tuple[Any, list[tf.Tensor]]:
    """Call `function` for `lanes` parts of the tasks, which run in parallel.

    Args:
        function: From the objective of a part to tensors `[tasks of the part, ...]`, and tensors
            to sum. It is traced once, or twice if the parts cannot have equal sizes.
        objective: The objective of all tasks.
        lanes: Number of parts. It must not exceed the number of tasks, if that is known.

    Returns:
        The tensors of all parts joined, `[tasks, ...]`, and the sums.
    """
    if lanes == 1:
        return function(objective)
    # One function call for each lane. No call needs the result of another, so that TensorFlow's
    # executor runs them at the same time, each on a thread of the inter-op pool. As the calls are
    # not inlined, the function is also optimized once, rather than once for each lane.
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
    return joined, [tf.add_n(terms) for terms in zip(*(sums for _, sums in results), strict=True)]


def _some_or_none(
    traced: Callable[..., Any], objective: TaskObjective, first: tf.Tensor, end: tf.Tensor
) -> tuple[Any, list[tf.Tensor]]:
    """Run the tasks from `first` to `end`; at run time there may be none."""
    start = tf.minimum(
        first, objective.tasks.count - 1
    )  # if there is none, a task of another lane, marked as invalid
    stop = tf.maximum(end, start + 1)
    tasks, numbers = tf.nest.map_structure(
        lambda x: x[start:stop], (objective.tasks, objective.numbers)
    )
    parts, sums = traced(tasks, objective.valid[start:stop] & (end > first), numbers)
    return tf.nest.map_structure(lambda part: part[: end - first], parts), sums
