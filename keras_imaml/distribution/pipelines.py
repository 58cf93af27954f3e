"""One pipeline of tasks per core, instead of all cores for each small operation."""

import os

import tensorflow as tf

from keras_imaml._utils.validation import check_integer
from keras_imaml.distribution.replicas import is_distributed


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
