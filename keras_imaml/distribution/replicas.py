"""The tasks of a meta-batch on several devices or machines, by `tf.distribute`.

Every replica computes the meta-gradient of its own tasks, weighted by their number, because the
last meta-batch may be uneven. One device and many learn the same, to rounding.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import clipped, tensorflow_variable
from keras_imaml._utils.tracing import Traced

_OF_COMPILE = (keras.optimizers.Optimizer, keras.metrics.Metric)
_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Refuse a strategy that cannot train a learner, by a `ValueError`."""
    if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
        raise ValueError(
            "Invalid value for the distribution strategy. Expected MirroredStrategy, "
            "MultiWorkerMirroredStrategy or TPUStrategy, whose replicas take every step together. "
            "ParameterServerStrategy is asynchronous, and Keras 3 does not support it. "
            f"Received: {type(strategy).__name__}"
        )


def check_variables(
    strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable], owner: str
) -> None:
    """Refuse variables that were created outside of the scope of a distributed strategy.

    Args:
        strategy: The strategy.
        variables: The variables to train.
        owner: What the variables belong to, for the message.

    Raises:
        ValueError: With the paths of the variables.
    """
    outside = _made_outside(strategy, variables)
    if outside:
        raise ValueError(
            f"The variables of {owner} were not made in the scope of the distribution strategy. "
            "Expected the network, the MetaLearner and `compile` in one `with strategy.scope():`. "
            f"Received: {type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas, "
            f"and made outside: {outside[:5]}{' ...' if len(outside) > 5 else ''}"
        )


def check_made_in_scope(strategy: tf.distribute.Strategy, parts: Any) -> None:
    """Refuse an optimizer or metrics with variables that each replica would change by itself.

    Args:
        strategy: The strategy of the learner.
        parts: What `compile` takes, in any structure. What is not made yet has no variables.

    Raises:
        ValueError: With the parts that were made outside of the scope.
    """
    stateful = [p for p in keras.tree.flatten(parts) if isinstance(p, _OF_COMPILE)]
    outside = [p.name for p in stateful if _made_outside(strategy, p.variables)]
    if outside:
        raise ValueError(
            "An optimizer or metric was not made in the scope of the distribution strategy: each "
            "replica would count by itself. Expected keras.optimizers... and keras.metrics... "
            "within `with strategy.scope():`, or names such as 'adam' and 'accuracy'. "
            f"Received: {type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas, "
            f"and made outside: {outside}"
        )


def _made_outside(
    strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable]
) -> list[str]:
    if not is_distributed(strategy):
        return []
    in_scope = strategy.extended.variable_created_in_scope
    return [v.path for v in variables if not in_scope(tensorflow_variable(v))]


def is_distributed(strategy: tf.distribute.Strategy) -> bool:
    """Whether there is more than one replica."""
    return strategy.num_replicas_in_sync > 1


def all_reduce_sum(values: Any) -> Any:
    """The sum over all replicas of each tensor in a structure."""
    context = tf.distribute.get_replica_context()
    if context is None or not is_distributed(context.strategy):
        return values
    local_values = tf.nest.map_structure(tf.identity, values)  # on the device of this replica
    return context.all_reduce(tf.distribute.ReduceOp.SUM, local_values)


def mean_over_tasks(sums: Sequence[Any], tasks: tf.Tensor) -> list[Any]:
    """Sums over tasks, or None, divided by the number of tasks."""
    count = tf.maximum(tasks, 1)
    return [None if g is None else _divided(g, tf.cast(count, g.dtype)) for g in sums]


def _divided(gradient: Any, count: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values / count
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient / count


def for_optimizer(
    sums: Sequence[Any], tasks: tf.Tensor, optimizer: keras.optimizers.Optimizer
) -> list[Any]:
    """Gradients whose sum over the replicas is the mean over all tasks.

    Args:
        sums: Sums over the tasks of this replica; None where a variable has none.
        tasks: The number of these tasks, a scalar; it may be 0.
        optimizer: The optimizer. It would clip before the sum, so that the sum is clipped here.
    """
    gradients = mean_over_tasks(sums, all_reduce_sum(tasks))
    if not is_distributed(tf.distribute.get_strategy()):
        return gradients
    parts = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    clips = getattr(optimizer, "inner_optimizer", optimizer)
    if parts and any(getattr(clips, name, None) is not None for name in _CLIPS):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        parts = [g / replicas for g in clipped(clips, all_reduce_sum(parts))]
    remaining = iter(parts)
    return [None if g is None else next(remaining) for g in gradients]


@contextlib.contextmanager
def aggregated_over_replicas(metrics: Sequence[keras.metrics.Metric]) -> Iterator[None]:
    """Context in which metrics hold the sums of all replicas, from one exchange for all."""
    context = tf.distribute.get_replica_context()
    if context is None or not is_distributed(context.strategy):
        yield
        return
    counters = [v for metric in metrics for v in metric.variables if v.aggregation == "sum"]
    sums = all_reduce_sum([tf.convert_to_tensor(v.value) for v in counters])
    with keras.StatelessScope(state_mapping=list(zip(counters, sums, strict=True))):
        yield


def pad_empty_batch(data: Any) -> tuple[Any, tf.Tensor]:
    """Add a task of zeros to a meta-batch without tasks, which no network could evaluate.

    The last meta-batch of a data set may be too small for all replicas.

    Returns:
        The meta-batch, and `[tasks]`, bool: False for the added task.
    """
    count = tf.shape(tf.nest.flatten(data)[0])[0]
    added = tf.cast(tf.equal(count, 0), count.dtype)

    def padded(x: tf.Tensor) -> tf.Tensor:
        return tf.pad(x, [[0, added], *([[0, 0]] * (x.shape.rank - 1))])

    if not tf.nest.flatten(data)[0].shape[0]:  # none, or not known when the graph is built
        data = tf.nest.map_structure(padded, data)
    return data, tf.range(tf.shape(tf.nest.flatten(data)[0])[0]) < count


def tasks_before(tasks: tf.Tensor) -> tf.Tensor:
    """The number of tasks of all replicas before this one.

    Args:
        tasks: The number of tasks of this replica, a scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None or not is_distributed(context.strategy):
        return tf.constant(0)
    replica = context.replica_id_in_sync_group
    counts = tf.one_hot(replica, context.num_replicas_in_sync, tf.cast(tasks, tf.float32), 0.0)
    return tf.cast(tf.cumsum(all_reduce_sum(counts), exclusive=True)[replica], tf.int32)


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part in a step."""
    is_multi_worker = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return is_multi_worker and is_distributed(strategy)


@contextlib.contextmanager
def lost_worker_reported(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Context in which the loss of another worker raises a `ConnectionError` with advice."""
    try:
        yield
    except tf.errors.OpError as error:
        reasons = [line for line in str(error).splitlines() if "ops is aborted" in line]
        is_lost = bool(reasons) or isinstance(error, tf.errors.UnavailableError)
        if not is_lost or not has_workers(strategy):
            raise
        raise ConnectionError(
            "Another worker has ended or cannot be reached, and without it the meta-step cannot "
            "be finished. Start all workers again: training resumes from the last checkpoint. "
            f"Received: {reasons[0] if reasons else error}"
        ) from error


def step_function(
    step: Callable[[Any], dict[str, Any]],
    strategy: tf.distribute.Strategy,
    steps_per_call: int,
    eagerly: bool,
) -> Callable[[Any], dict[str, Any]]:
    """The function that `fit` and `evaluate` call with an iterator: `step` on every replica.

    Keras averages the logs of the replicas, which fails for scalars on several machines. Here the
    logs are the same on all replicas.
    """

    def on_all(iterator: Any) -> dict[str, Any]:
        logs = strategy.run(step, args=(next(iterator),))
        return {k: strategy.experimental_local_results(v)[0] for k, v in logs.items()}

    # The graph takes the iterator: a smaller last batch needs no new trace.
    run = on_all if eagerly else Traced(on_all, reduce_retracing=True)

    def function(iterator: Any) -> dict[str, Any]:
        iterator = _over_replicas(iterator, strategy)
        with lost_worker_reported(strategy):
            logs = run(iterator)
            for _ in range(steps_per_call - 1):
                try:
                    logs = run(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    break
            return logs

    return function


def _over_replicas(iterator: Any, strategy: tf.distribute.Strategy) -> Any:
    """An iterator of parts for the replicas. The methods `*_on_batch` give a plain one instead."""
    if isinstance(iterator, tf.distribute.DistributedIterator):
        return iterator
    (element,) = iterator
    # Several workers take no None, which stands for targets and sample weights that are not given.
    given = tuple(part for part in element if part is not None)
    data = tf.data.Dataset.from_tensors(given)
    return iter(strategy.experimental_distribute_dataset(data))
