"""From words to a `tf.distribute.Strategy`: one device, those of a machine, several machines."""

import json
import os
from collections.abc import Sequence

import tensorflow as tf

from keras_imaml._utils.validation import check_choice, check_integer

DISTRIBUTIONS = ("none", "mirrored", "multi_worker", "tpu")


def strategy(
    distribution: str = "none",
    devices: int | None = None,
    workers: Sequence[str] = (),
    worker_index: int = 0,
) -> tf.distribute.Strategy:
    """The strategy by which the tasks of a meta-batch are spread; call it before anything else.

    Make and compile the learner under `strategy.scope()`; `fit` and `evaluate` do the rest. Every
    device gets its share of each meta-batch, and what is learned is that of one device.

    Args:
        distribution: `"none"`: one device. `"mirrored"`: the devices of this machine.
            `"multi_worker"`: several processes or machines, each of which runs the same program;
            they find one another by `workers`, or by the environment variable `TF_CONFIG`.
            `"tpu"`: the TPU that TensorFlow finds. Defaults to `"none"`.
        devices: Of `"mirrored"`: how many. On a machine without GPUs the processor is divided into
            so many logical devices. Defaults to `None`: all GPUs, or the processor as one device.
        workers: Of `"multi_worker"`: `host:port` of every worker, the same list for all of them.
            Defaults to `()`: they are in `TF_CONFIG`.
        worker_index: The place of this process in `workers`; number 0 writes checkpoints and
            results. Defaults to `0`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: If settings do not fit one another or the machine.

    Example:

    ```python
    strategy = ki.strategy("mirrored", devices=2)
    with strategy.scope():
        learner = ki.MetaLearner(ki.models.Conv4(5), ki.IMAML())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        learner.compile(keras.optimizers.Adam(1e-3), loss)
    ```
    """
    check_choice("distribution", distribution, DISTRIBUTIONS)
    if devices is not None and distribution != "mirrored":
        raise ValueError(
            'Invalid value for `devices`. Expected None, unless distribution="mirrored". '
            f"Received: devices={devices} with distribution={distribution!r}"
        )
    if isinstance(workers, str) or not isinstance(workers, Sequence):
        raise ValueError(
            "Invalid value for `workers`. Expected a list of host:port. "
            f"Received: workers={workers!r}"
        )
    if workers and distribution != "multi_worker":
        raise ValueError(
            'Invalid value for `workers`. Expected none, unless distribution="multi_worker". '
            f"Received: workers={list(workers)} with distribution={distribution!r}"
        )
    _check_cluster()
    if distribution == "mirrored":
        return tf.distribute.MirroredStrategy(_devices(devices))
    if distribution == "multi_worker":
        if workers:
            _join(workers, worker_index)
        elif "TF_CONFIG" not in os.environ:
            raise ValueError(
                "Invalid value for `workers`. Expected host:port of every worker, or the "
                "environment variable TF_CONFIG. Received: neither"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if distribution == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except ValueError as error:
            raise ValueError(
                'Invalid value for `distribution`. Expected a machine with a TPU for "tpu", or '
                f'TPU_NAME in the environment. Received: distribution="tpu" ({error})'
            ) from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


def is_chief(of: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files: any, but on several machines the first.

    Example:

    ```python
    ki.distribution.is_chief(tf.distribute.get_strategy())  # True
    ```
    """
    resolver = of.cluster_resolver
    multi = isinstance(of, tf.distribute.MultiWorkerMirroredStrategy) and resolver is not None
    if not multi or not resolver.cluster_spec().as_dict():
        return True
    chiefs = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" if chiefs else resolver.task_id == 0


def _devices(count: int | None) -> list[str] | None:
    if count is None:
        return None
    count = check_integer("devices", count, minimum=1)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if count > len(gpus):
            raise ValueError(
                f"Invalid value for `devices`. Expected at most {len(gpus)}, the number of GPUs "
                f"of this machine. Received: devices={count}"
            )
        return [f"GPU:{i}" for i in range(count)]
    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise ValueError(
            "Invalid value for `devices`. The processor cannot be divided any more, because "
            "TensorFlow is running already: make the strategy first of all. "
            f"Received: devices={count}"
        ) from error
    return [f"CPU:{i}" for i in range(count)]


def _check_cluster() -> None:
    """Refuse a `TF_CONFIG` that cannot be read, or that gives this process no tasks to train on."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return
    example = '{"cluster": {"worker": ["10.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        task = json.loads(text).get("task", {})
        role = task.get("type")
    except (ValueError, AttributeError):
        raise ValueError(
            f"Invalid value for the environment variable TF_CONFIG. Expected JSON such as {example}"
            f". Received: TF_CONFIG={text!r}"
        ) from None
    if role not in (None, "chief", "worker"):
        raise ValueError(
            "Invalid value for the environment variable TF_CONFIG. Expected a task of the type "
            "'worker' or 'chief': every process trains, and the first one evaluates. Do not start "
            f"a process of another type. Received: type={role!r}"
        )


def _join(workers: Sequence[str], index: int) -> None:
    """Say in `TF_CONFIG` who the workers are, and which of them this process is."""
    workers = [worker.strip() for worker in workers]
    for worker in workers:
        host, _, port = worker.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(
                "Invalid value for `workers`. Expected host:port of every worker, such as "
                f"10.0.0.1:2222. Received: {worker!r}"
            )
    if len(set(workers)) < len(workers):
        raise ValueError(
            "Invalid value for `workers`. Expected another host:port for each. "
            f"Received: workers={workers}"
        )
    index = check_integer("worker_index", index, minimum=0)
    if index >= len(workers):
        raise ValueError(
            f"Invalid value for `worker_index`. Expected at most {len(workers) - 1}, for "
            f"{len(workers)} workers. Received: worker_index={index}"
        )
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
