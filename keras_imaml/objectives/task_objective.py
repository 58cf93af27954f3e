"""The support and the query loss of a meta-batch, as functions of `phi [tasks, size]`."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.keras_graph import output_spec
from keras_imaml._utils.structures import symbolic
from keras_imaml.batching import NetworkOutputs, TaskNetwork
from keras_imaml.batching.chunks import slice_tasks
from keras_imaml.batching.trunk_network import TrunkNetwork
from keras_imaml.objectives.tasks import Tasks, clear, finite_tasks, join_sets


class NetworkAndLoss(NamedTuple):
    """The network of the inner or the outer level, and the loss of its outputs.

    Attributes:
        network: The network; without its trunk, if it has one.
        loss: The loss of its outputs.
        trunk: What comes before the network and is the same for all tasks (see
            `keras_imaml.batching.trunk`), or None.
    """

    network: TaskNetwork
    loss: Callable[[Any, Any], tf.Tensor]
    trunk: TrunkNetwork | None = None


class TaskObjective:
    """The support and the query loss of a meta-batch.

    A task whose inputs hold NaN or infinity is marked in `valid` and its inputs are replaced by
    zeros, so that it cannot spoil what the tasks compute together.

    Args:
        inner: The network and the loss of the support set.
        outer: The network and the loss of the query set; the same, unless the loss that tasks
            adapt by is learned.
        tasks: The data.
        training: Whether the network is evaluated in training mode, with dropout and the like.
        transductive: Whether `TaskBatchNormalization` may look at the whole query set; if not,
            the query set is normalized by the statistics of the support set.
        numbers: `[tasks]`, integers: the number of each task in the meta-batch of all replicas,
            which its random numbers depend on. Defaults to `None`: counted from 0 on.
    """

    def __init__(
        self,
        inner: NetworkAndLoss,
        outer: NetworkAndLoss,
        tasks: Tasks,
        training: bool,
        transductive: bool,
        numbers: tf.Tensor | None = None,
    ) -> None:
        self.inner = inner
        self.outer = outer
        self.parameters = outer.network.parameters
        self.valid = finite_tasks(tasks)
        self.tasks = Tasks(*(clear(part, self.valid) for part in tasks))
        self.numbers = tf.range(tasks.count) if numbers is None else numbers
        self.training = training
        self.transductive = transductive
        self.trunk_outputs: list[tf.Tensor] = []
        self.adapts_to_queries = False

    @property
    def dtype(self) -> str:
        """The dtype of the adapted weights and of the losses."""
        return self.parameters.dtype

    def output_dtypes(self) -> Any:
        """The dtype of each output of the outer level's network, in their structure."""
        model = self.outer.network.model
        if self.outer.trunk is not None:
            ends = model.outputs[0] if len(model.outputs) == 1 else model.output
            return keras.tree.map_structure(lambda output: tf.as_dtype(output.dtype), ends)
        outputs = output_spec(model, symbolic(self.tasks.query_x, first_axis=2))
        return keras.tree.map_structure(lambda output: tf.as_dtype(output.dtype), outputs)

    def merged(self) -> "TaskObjective":
        """The same tasks with support and query examples together as the support set."""
        tasks = self.tasks
        both = "as the algorithm adapts to both in one set"
        merged = Tasks(
            join_sets(tasks.support_x, tasks.query_x, both),
            join_sets(tasks.support_y, tasks.query_y, both),
            tasks.query_x,
            tasks.query_y,
        )
        return TaskObjective(
            self.inner, self.outer, merged, self.training, self.transductive, self.numbers
        )

    def part(self, first: int | tf.Tensor, count: int) -> "TaskObjective":
        """The objective of `count` tasks from number `first` on."""
        tasks = tf.nest.map_structure(lambda x: slice_tasks(x, first, count), self.tasks)
        return self.replace(
            tasks, slice_tasks(self.valid, first, count), slice_tasks(self.numbers, first, count)
        )

    def replace(
        self, tasks: Tasks, valid: tf.Tensor, numbers: tf.Tensor | None = None
    ) -> "TaskObjective":
        """The objective of other tasks, whose inputs have been checked (see `valid`).

        They keep the numbers of these tasks, unless `numbers` is given.
        """
        objective = copy.copy(self)
        objective.tasks, objective.valid = tasks, valid
        objective.numbers = self.numbers if numbers is None else numbers
        return objective

    def with_pseudo_labels(
        self, labels: tf.Tensor, loss: Callable[[tf.Tensor, Any], tf.Tensor]
    ) -> "TaskObjective":
        """The same tasks, which also adapt to their queries, by pseudo-labels.

        Args:
            labels: One row for each task.
            loss: Of `labels` and the query outputs, `[tasks]`. It is added to the support loss.
        """
        of_support = self.inner.loss

        def of_both(y: tuple[Any, tf.Tensor], outputs: tuple[Any, Any]) -> tf.Tensor:
            return of_support(y[0], outputs[0]) + loss(y[1], outputs[1])

        objective = self.replace(
            self.tasks._replace(support_y=(self.tasks.support_y, labels)), self.valid
        )
        objective.inner = self.inner._replace(loss=of_both)
        objective.adapts_to_queries = True
        return objective

    def without_inputs_of(self, invalid: tf.Tensor) -> tuple["TaskObjective", dict[int, tf.Tensor]]:
        """The objective with zeros as the inputs and targets of some tasks.

        Args:
            invalid: `[tasks]`, bool, the tasks to clear. They become invalid.

        Returns:
            The objective, and its tensors by the `id` of those that they replace.
        """
        # Trunk outputs are sources of gradients, and tensors are told apart by identity. Clearing
        # makes new tensors, so callers that hold the old ones need to look up the new ones.
        renamed: dict[int, tf.Tensor] = {}

        def cleared(part: Any) -> Any:
            cleared_part = clear(part, ~invalid)
            renamed.update(
                zip(map(id, tf.nest.flatten(part)), tf.nest.flatten(cleared_part), strict=True)
            )
            return cleared_part

        objective = self.replace(Tasks(*map(cleared, self.tasks)), self.valid & ~invalid)
        objective.trunk_outputs = [renamed[id(feature)] for feature in self.trunk_outputs]
        return objective, renamed

    def after_trunk(self) -> "TaskObjective":
        """The objective of the layers after the trunk, whose inputs are the trunk outputs.

        They are differentiated like meta-parameters. Without a trunk, the objective itself.
        """
        trunk = self.outer.trunk
        if trunk is None or self.trunk_outputs:
            return self
        support_x, query_x = self.tasks.support_x, self.tasks.query_x
        if not tf.nest.flatten(query_x):
            support_x = trunk(support_x, self.training, numbers=self._draws_of(query=False))
        elif self.transductive or not trunk.normalizes_by_batch:
            support_x = trunk(support_x, self.training, numbers=self._draws_of(query=False))
            query_x = trunk(query_x, self.training, numbers=self._draws_of(query=True))
        else:
            joined, rows = self._joined()
            outputs = trunk(joined, self.training, rows, self._draws_of(query=True))
            support_x = tf.nest.map_structure(lambda z: z[:, :rows], outputs)
            query_x = tf.nest.map_structure(lambda z: z[:, rows:], outputs)
        objective = self.replace(
            self.tasks._replace(support_x=support_x, query_x=query_x), self.valid
        )
        inputs = tf.nest.flatten((support_x, query_x))
        # Integer inputs that bypass the trunk have no gradient.
        objective.trunk_outputs = [z for z in inputs if z.dtype.is_floating]
        return objective

    def watch(self, tape: tf.GradientTape) -> None:
        """Let a tape watch the trunk outputs, which are not variables."""
        for feature in self.trunk_outputs:
            tape.watch(feature)

    def support(self, phi: tf.Tensor) -> NetworkOutputs:
        """The inner level's network on the support sets; and on the queries that it adapts to."""
        support = self.inner.network(
            phi, self.tasks.support_x, self.training, numbers=self._draws_of(query=False)
        )
        if not self.adapts_to_queries:
            return support
        return support._replace(outputs=(support.outputs, self.query(phi).outputs))

    def query(self, phi: tf.Tensor) -> NetworkOutputs:
        """The outer level's network on the query sets."""
        network, numbers = self.outer.network, self._draws_of(query=True)
        if self.transductive or not network.normalizes_by_batch:
            return network(phi, self.tasks.query_x, self.training, numbers=numbers)
        joined, rows = self._joined()
        outputs, penalty = network(phi, joined, self.training, rows, numbers)
        return NetworkOutputs(tf.nest.map_structure(lambda z: z[:, rows:], outputs), penalty)

    def _draws_of(self, query: bool) -> tf.Tensor:
        """A different random stream number for each support set and each query set."""
        return 2 * self.numbers + int(query)

    def _joined(self) -> tuple[Any, Any]:
        """The inputs of support and query sets in one batch, and the size of the support set."""
        joined = join_sets(
            self.tasks.support_x,
            self.tasks.query_x,
            "as TaskBatchNormalization reads the statistics of the support set along with them; "
            "with transductive=True or fixed=True it does not",
        )
        first, *_ = tf.nest.flatten(self.tasks.support_x)
        return joined, first.shape[1] if first.shape[1] is not None else tf.shape(first)[1]

    def support_losses(self, phi: tf.Tensor) -> tf.Tensor:
        """`Lhat_t(phi_t)` for each task, `[tasks]`."""
        outputs, penalty = self.support(phi)
        return self.inner.loss(self.tasks.support_y, outputs) + penalty

    def query_losses(self, phi: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """`L_t(phi_t)` for each task, `[tasks]`, and the outputs that gave it."""
        outputs, penalty = self.query(phi)
        return self.outer.loss(self.tasks.query_y, outputs) + penalty, outputs
