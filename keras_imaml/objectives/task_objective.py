"""The support and the query loss of a meta-batch, as functions of `phi [tasks, size]`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.keras_graph import output_spec
from keras_imaml._utils.structures import symbolic
from keras_imaml.batching import NetworkOutputs, TaskNetwork
from keras_imaml.batching.trunk_network import TrunkNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.meta_batch_plan import MetaBatchPlan
from keras_imaml.objectives.tasks import Tasks, join_sets


class NetworkAndLoss(NamedTuple):
    """The network of the inner or the outer level, and the loss of its outputs.

    Attributes:
        network: The network; without its trunk, if it has one.
        loss: From targets, outputs and weights of examples (or `()`) to losses, `[tasks]`.
        trunk: What comes before the network and is the same for all tasks (see
            `keras_imaml.batching.trunk`), or None.
        penalties: Whether the network's own penalties count in the query loss. Those of weights
            that all tasks share always do, since the outer level alone trains them.
        loss_variables: Trainable variables that the loss reads.
    """

    network: TaskNetwork
    loss: Callable[[Any, Any, Any], tf.Tensor]
    trunk: TrunkNetwork | None = None
    penalties: bool = True
    loss_variables: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class TaskObjective:
    """The support and the query loss of a meta-batch.

    Attributes:
        inner: The network and the loss of the support set.
        outer: The network and the loss of the query set; the same, unless the loss that tasks
            adapt by is learned.
        tasks: The data. Tasks that hold NaN or infinity are invalid, see `Tasks.checked`.
        training: Whether the network is evaluated in training mode, with dropout and the like.
        transductive: Whether `TaskBatchNormalization` may look at the whole query set; if not,
            the query set is normalized by the statistics of the support set.
        plan: How the meta-batch is split. Defaults to all tasks at once.
    """

    inner: NetworkAndLoss
    outer: NetworkAndLoss
    tasks: Tasks
    training: bool
    transductive: bool
    plan: MetaBatchPlan = MetaBatchPlan()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", self.tasks.checked())

    @property
    def parameters(self) -> Parameters:
        """The parts of the network's weights."""
        return self.outer.network.parameters

    @property
    def valid(self) -> tf.Tensor:
        """`[tasks]`, bool: tasks whose data is finite."""
        return self.tasks.valid

    @property
    def dtype(self) -> str:
        """The dtype of the adapted weights and of the losses."""
        return self.parameters.dtype

    @property
    def trunk_outputs(self) -> list[tf.Tensor]:
        """Tensors that are differentiated like meta-parameters; see `after_trunk`."""
        return []

    def output_dtypes(self) -> Any:
        """The dtype of each output of the outer level's network, in their structure."""
        model = self.outer.network.model
        if self.outer.trunk is not None:
            ends = model.outputs[0] if len(model.outputs) == 1 else model.output
            return keras.tree.map_structure(lambda output: tf.as_dtype(output.dtype), ends)
        outputs = output_spec(model, symbolic(self.tasks.query_x, first_axis=2))
        return keras.tree.map_structure(lambda output: tf.as_dtype(output.dtype), outputs)

    def planned(self, tasks_per_chunk: int | None = None) -> "TaskObjective":
        """The same objective with the plan of a step; see `MetaBatchPlan.of`."""
        models = self.inner.network.model, self.outer.network.model
        return dataclasses.replace(
            self, plan=MetaBatchPlan.of(self.tasks, *models, tasks_per_chunk)
        )

    def on(self, tasks: Tasks) -> "TaskObjective":
        """The same objective of other tasks."""
        return dataclasses.replace(self, tasks=tasks)

    def part(self, first: int | tf.Tensor, count: int) -> "TaskObjective":
        """The objective of `count` tasks from number `first` on."""
        return self.on(self.tasks.part(first, count))

    def without(self, invalid: tf.Tensor) -> "TaskObjective":
        """The objective with zeros as the inputs and targets of some tasks, now invalid."""
        return self.on(self.tasks.without(invalid))

    def watch(self, tape: tf.GradientTape) -> None:
        """Let a tape watch the trunk outputs, which are not variables."""
        for feature in self.trunk_outputs:
            tape.watch(feature)

    def support(self, phi: tf.Tensor) -> NetworkOutputs:
        """The inner level's network on the support sets."""
        outputs, penalty = self.inner.network(
            phi,
            self.tasks.support_x,
            self.training,
            numbers=self.draws_of(query=False),
            counted=self.tasks.present(query=False),
        )
        return NetworkOutputs(self.tasks.of_classes(outputs), penalty)

    def query(self, phi: tf.Tensor) -> NetworkOutputs:
        """The outer level's network on the query sets."""
        network, numbers = self.outer.network, self.draws_of(query=True)
        if self.transductive or not network.normalizes_by_batch:
            counted = self.tasks.present(query=True)
            x = self.tasks.query_x
            outputs, penalty = network(phi, x, self.training, numbers=numbers, counted=counted)
        else:
            joined, rows, counted = self.joined_inputs()
            outputs, penalty = network(phi, joined, self.training, rows, numbers, counted)
            outputs = tf.nest.map_structure(lambda z: z[:, rows:], outputs)
        return NetworkOutputs(self.tasks.of_classes(outputs), penalty)

    def draws_of(self, query: bool) -> tf.Tensor:
        """A different random stream number for each support set and each query set."""
        return 2 * self.tasks.numbers + int(query)

    def joined_inputs(self) -> tuple[Any, Any, tf.Tensor | None]:
        """The inputs of support and query sets in one batch, and which examples are counted.

        Returns:
            The inputs, the size of the support set, and `[tasks, examples]`, bool: the support
            examples that are there; None if all of them are.
        """
        joined = join_sets(
            self.tasks.support_x,
            self.tasks.query_x,
            "as TaskBatchNormalization reads the statistics of the support set along with them; "
            "with transductive=True or fixed=True it does not",
        )
        first, *_ = tf.nest.flatten(self.tasks.support_x)
        rows = first.shape[1] if first.shape[1] is not None else tf.shape(first)[1]
        present = self.tasks.present(query=False)
        if present is None:
            return joined, rows, None
        queries = tf.shape(tf.nest.flatten(joined)[0])[1] - rows
        return joined, rows, tf.pad(present, [[0, 0], [0, queries]])

    def support_loss_of(self, outputs: Any) -> tf.Tensor:
        """The loss of what `support` gave, without penalties, `[tasks]`."""
        return self.inner.loss(self.tasks.support_y, outputs, self.tasks.support_weights)

    def support_losses(self, phi: tf.Tensor) -> tf.Tensor:
        """`Lhat_t(phi_t)` for each task, `[tasks]`."""
        outputs, penalty = self.support(phi)
        return self.support_loss_of(outputs) + penalty

    def query_losses(self, phi: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """`L_t(phi_t)` for each task, `[tasks]`, and the outputs that gave it."""
        outputs, penalty = self.query(phi)
        if not self.outer.penalties:
            penalty = self.parameters.shared_penalty()
        tasks = self.tasks
        return self.outer.loss(tasks.query_y, outputs, tasks.query_weights) + penalty, outputs
