"""`MetaLearner`: a Keras model that learns to adapt another one."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.half_precision import warn_of_emulation
from keras_imaml._compat.lora import UnmergedLora, lora_settings
from keras_imaml._compat.random_streams import RandomStreams, own_generator
from keras_imaml._utils.configurable import constructor_call
from keras_imaml._utils.signals import release_signals
from keras_imaml._utils.tracing import TracedByRank, builds_graph
from keras_imaml._utils.validation import check_integer
from keras_imaml.algorithms import Algorithm
from keras_imaml.batching.layer_checks import check_layers
from keras_imaml.batching.layer_updates import check_stateless
from keras_imaml.distribution import replicas
from keras_imaml.layers.task_batch_normalization import normalizes_by_batch
from keras_imaml.learner.first_step import FirstStep
from keras_imaml.learner.input_checks import check_steps_compile
from keras_imaml.learner.meta_batch import Outcome, meta_gradient, outcome
from keras_imaml.learner.objective_builder import ObjectiveBuilder
from keras_imaml.learner.progress import Progress
from keras_imaml.learner.saved_learner import SavedLearner
from keras_imaml.learner.step_functions import StepFunctions
from keras_imaml.learner.step_metrics import (
    check_metric_names,
    make_diagnostics,
    nan_loss_if_all_invalid,
    update_metrics,
)
from keras_imaml.learner.task_adaptation import TaskAdaptation
from keras_imaml.learner.two_losses import TwoLosses
from keras_imaml.learner.weight_summary import weights_table
from keras_imaml.learner.with_algorithm import with_algorithm
from keras_imaml.meta_parameters.parameters import Adapt, Parameters, warn_of_constraints
from keras_imaml.objectives.learned_loss import LearnedLoss
from keras_imaml.objectives.task_objective import TaskObjective

_TRACED = ("model", "algorithm", "learned_loss", "tasks_per_chunk")


@keras.saving.register_keras_serializable(package="keras_imaml")
class MetaLearner(TaskAdaptation, StepFunctions, SavedLearner, TwoLosses, keras.Model):
    """Learn weights from which a network adapts to a new task from a few examples.

    A thin wrapper: `fit` reads meta-batches, an `algorithm` turns each into a meta-gradient, the
    optimizer applies it. One element of the data is `((support_x, support_y), (query_x, query_y))`
    with a leading task axis. Tasks of unequal size are padded, and the sets have weights as third
    entries, `[tasks, examples]`, with 0 where there is no example. A third part of the element,
    `[tasks]`, integers, gives each task its own number of inner steps.

    Args:
        model: The network that adapts; any built Keras model. Its layers train in place: after
            `fit` it holds the meta-learned weights theta.
        algorithm: How to adapt and to differentiate, such as `keras_imaml.IMAML()`.
        adapt: Which weights adapt to a task: `None` (all), names of layers or weights, or a
            predicate `variable -> bool`. The other trainable weights are the same for all tasks
            and are meta-learned too. `["lora_kernel_a", "lora_kernel_b"]` are the low-rank weights
            of layers on which `enable_lora` was called before. Defaults to `None`.
        transductive: Whether `TaskBatchNormalization` normalizes a query set by its own
            statistics (as in the paper), so that the query examples of a task see one another.
            `False` uses the statistics of the support set, and is what an adapted model delivers
            when it is deployed. Without difference for layers with `fixed=True`. Defaults to
            `False`.
        learned_loss: A `keras_imaml.LearnedLoss` by which tasks adapt to unlabeled support
            inputs. Defaults to `None`: they adapt by the loss of `compile`.
        tasks_per_chunk: How many tasks of a meta-batch are computed at the same time, at most; a
            divisor of their number is taken. Less memory, for the same meta-gradient. Defaults to
            `None`: all.

    Example:

    ```python
    tasks = ki.data.glyphs("train", way=5, shot=1, query=5, seed=0).batch(16)
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=16), ki.IMAML(proximal_strength=0.5))
    learner.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    learner.fit(tasks, steps_per_epoch=10)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks.unbatch()))
    model = learner.adapt(support_x, support_y)      # a plain keras.Model for this task
    model.predict(query_x)
    ```

    References:
        Rajeswaran et al., 2019, algorithm 1.
    """

    def __init__(
        self,
        model: keras.Model,
        algorithm: Algorithm,
        adapt: Adapt = None,
        transductive: bool = False,
        learned_loss: LearnedLoss | None = None,
        tasks_per_chunk: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(algorithm, Algorithm):
            raise ValueError(
                "Invalid value for `algorithm`. Expected an algorithm such as "
                f"keras_imaml.IMAML(). Received: algorithm={algorithm!r}"
            )
        if algorithm.in_use:
            raise ValueError(
                "Invalid value for `algorithm`. Expected one of its own for every learner: it "
                f"holds what belongs to one network. Received: {algorithm.name!r}, which is in use"
            )
        if learned_loss is not None:
            algorithm.check_learned_loss()
        replicas.check_strategy(tf.distribute.get_strategy())
        super().__init__(**kwargs)
        if not isinstance(model, keras.Model):
            raise ValueError(
                "Invalid value for `model`. Expected a built keras.Model. "
                f"Received: model={model!r}"
            )
        check_layers(model)
        check_stateless(model)
        warn_of_emulation(model)
        self.model = model
        self.learned_loss = learned_loss
        adapts_by = learned_loss.prepare(model) if learned_loss else model
        if learned_loss:
            check_layers(adapts_by)
            check_stateless(adapts_by)
        self.parameters = Parameters(model, adapt, learned_loss and learned_loss.network)
        warn_of_constraints(self.parameters)
        algorithm.prepare(self.parameters)
        self.algorithm = algorithm
        self.adapt_spec = adapt
        self.transductive = bool(transductive)
        if tasks_per_chunk is not None:
            tasks_per_chunk = check_integer("tasks_per_chunk", tasks_per_chunk, minimum=1)
        self.tasks_per_chunk = tasks_per_chunk
        self.random_streams = RandomStreams(own_generator())
        self._objectives = ObjectiveBuilder(
            model, adapts_by, self.parameters, algorithm, learned_loss, self.random_streams
        )
        self._forget_graphs()
        self.diagnostics = make_diagnostics(algorithm.diagnostics)
        strategy = tf.distribute.get_strategy()
        replicas.check_variables(strategy, model.variables, f"the network {model.name!r}")
        if lora_settings(model):
            self.unmerged_lora = UnmergedLora(model)
        self.built = True

    def compile(  # noqa: A003
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = None,
        jit_compile: bool = False,
        check_curvature: bool = True,
        inner_loss: Any = None,
        outer_penalties: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure the learner for `fit` and `evaluate`.

        Weights that were frozen or unfrozen by `trainable` count as such from here on.

        Args:
            optimizer: A Keras optimizer for the outer level. Defaults to `"adam"`.
            loss: A Keras loss of the query set, and of the support set without an `inner_loss`.
            metrics: Keras metrics of the query predictions after adaptation.
            jit_compile: Whether to use XLA; wrong for max pooling on CPUs. `MAML` of a network with
                convolutions needs `recompute=True` for it. Defaults to `False`.
            check_curvature: Whether to check the second derivatives that the algorithm takes, once,
                on the first task of the first step. Not with `jit_compile` or half precision.
                Defaults to `True`.
            inner_loss: The loss of the support set, by which tasks adapt. Its Keras variables, such
                as a temperature, are meta-learned. Defaults to `None`: `loss`, whose variables
                are constants.
            outer_penalties: Whether the network's penalties (regularizers and `add_loss`) count in
                the outer objective, too, and in the reported loss. They always count in the inner
                one. Regularizers of weights that do not adapt always count in the outer one,
                which alone trains them. Defaults to `None`: `False`, but for `Supervised`.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        if loss is None:
            raise ValueError(
                "Invalid value for `loss`. Expected a Keras loss such as keras.losses."
                "SparseCategoricalCrossentropy(from_logits=True). Received: loss=None"
            )
        self._check_inner_loss(loss, inner_loss)
        check_metric_names((metrics, kwargs.get("weighted_metrics")), self.diagnostics)
        replicas.check_variables(tf.distribute.get_strategy(), self.variables, "the learner")
        self._objectives.follow_trainable()
        strategy = self.distribute_strategy
        replicas.check_made_in_scope(strategy, (optimizer, metrics, kwargs.get("weighted_metrics")))
        with strategy.scope():  # wherever `compile` is called: what it makes is of all replicas
            super().compile(
                optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, **kwargs
            )
            self._set_losses(loss, inner_loss, outer_penalties)
            self.optimizer.build(self.trainable_variables)
        self.checks_curvature = check_curvature = bool(check_curvature)
        self.first_step = FirstStep(self, self._objectives, check_curvature)
        self._forget_graphs()

    def fit(
        self,
        *args: Any,
        verbose: int | str = "auto",
        callbacks: Any = None,
        shuffle: bool = False,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on meta-batches, as `keras.Model.fit` does.

        The progress bar shows the loss and the metrics; the history has the diagnostics of the
        algorithm, too. Tasks are drawn, so nothing is shuffled.
        """
        if verbose in ("auto", 1, 2) and not isinstance(callbacks, keras.callbacks.CallbackList):
            level = 1 if verbose == "auto" else int(verbose)
            bar = Progress(hidden=self.diagnostics, verbose=level)
            callbacks, verbose = [*keras.tree.flatten(callbacks or []), bar], 0
        try:
            return super().fit(
                *args, verbose=verbose, callbacks=callbacks, shuffle=shuffle, **kwargs
            )
        finally:
            release_signals(callbacks)

    @property
    def transductive(self) -> bool:
        """Whether query sets are normalized by their own statistics; may be changed any time."""
        return self._transductive

    @transductive.setter
    def transductive(self, value: bool) -> None:
        self._transductive = bool(value)
        self.train_function = self.test_function = None  # both are traced for one of the two
        self._forget_graphs()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _TRACED and getattr(self, "built", False):
            raise AttributeError(
                f"`{name}` of a MetaLearner cannot be set: it has graphs that would not see it. "
                f"Make another one: keras_imaml.MetaLearner(learner.model, ..., {name}=...)."
            )
        super().__setattr__(name, value)

    def with_algorithm(self, algorithm: Algorithm | None = None, **changes: Any) -> "MetaLearner":
        """Another learner of the same network, which adapts otherwise.

        It shares the network and is compiled alike, with a fresh optimizer. Learned numbers, such
        as lambda and step sizes, are copied.

        Args:
            algorithm: The algorithm. What it takes of `learner.algorithm` is copied with its
                values. Defaults to `None`: a copy of the algorithm in use.
            **changes: Arguments of the algorithm in use to change, and `steps` of its inner
                solver. `steps=0` does not adapt, for a baseline.

        Example:

        ```python
        learner = ki.MetaLearner(ki.models.MLP(1), ki.IMAML(ki.ProximalStrength(learned=True)))
        learner.compile(optimizer="adam", loss="mse")
        without_adaptation = learner.with_algorithm(steps=0)
        ```
        """
        return with_algorithm(self, algorithm, **changes)

    @property
    def queries_interact(self) -> bool:
        """Whether predictions depend on the task's other queries: by adaptation or statistics."""
        by_statistics = self.transductive and normalizes_by_batch(self.model)
        return self.algorithm.adapts_to_queries or by_statistics

    def __repr__(self) -> str:
        return constructor_call(self, adapt=self.adapt_spec)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print which weights adapt, which are only meta-learned, and which are fixed.

        With any other argument than `print_fn`, Keras' table of the network's layers follows.

        Args:
            print_fn: Called with the text. Defaults to `None`, which is `print`.
            line_length: As for `keras.Model.summary`.
            positions: As for `keras.Model.summary`.
            **kwargs: As for `keras.Model.summary`.
        """
        (print_fn or print)(weights_table(self))
        if kwargs or line_length is not None or positions is not None:
            self.model.summary(line_length, positions, print_fn, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network at the meta-learned weights, without adaptation."""
        return self.model(inputs, training=training)

    @builds_graph
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of the outer level."""
        objective, real = self._objectives.of_replica(data, True, self.transductive)
        check_steps_compile(self, objective.tasks.steps)
        self.first_step.keep((objective.tasks.support_x, objective.tasks.support_y))
        variables = self.trainable_variables
        meta = meta_gradient(self.algorithm, objective, variables, self.tasks_per_chunk)
        self.first_step.note(variables, meta.sums, meta.count)
        gradients = replicas.for_optimizer(meta.sums, meta.count, self.optimizer)
        # An optimizer that scales losses (for half precision) divides what it is given.
        gradients = [_scaled(self.optimizer, g) for g in gradients]
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        if pairs:
            self.optimizer.apply_gradients(pairs)
        else:  # as of any Keras model
            warnings.warn(
                "A step trains nothing: no trainable weight has a meta-gradient. "
                f"Received: {len(variables)} trainable weights",
                stacklevel=2,
            )
        self.random_streams.advance()
        after = Outcome(meta.query_losses, meta.query_outputs, meta.valid)
        return update_metrics(self, objective, after, real, meta.diagnostics)

    @builds_graph
    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Adapt to each task and evaluate its query set."""
        objective, real = self._objectives.of_replica(data, False, self.transductive)
        after = outcome(self.algorithm, objective, self.tasks_per_chunk)
        return update_metrics(self, objective, after, real, {})

    def get_metrics_result(self) -> dict[str, Any]:
        """The value of every metric, over the tasks of all replicas."""
        with replicas.aggregated_over_replicas(self.metrics):
            return nan_loss_if_all_invalid(super().get_metrics_result())

    def objective(self, data: Any, training: bool, first: tf.Tensor | int = 0) -> TaskObjective:
        """The support and query losses of one element of the data, as functions of `phi`.

        Args:
            data: The element.
            training: The `training` flag for the layers.
            first: The number of its first task in the meta-batch of all replicas. Defaults to `0`.
        """
        return self._objectives.objective(data, training, self.transductive, first)

    def _forget_graphs(self) -> None:
        self._traced_for = object()  # another one where graphs are of another learner, as it were
        self._adaptation: TracedByRank | None = None
        self._evaluation: Any = None  # of `keras_imaml.evaluate`


def _scaled(optimizer: Any, gradient: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices) and optimizer.loss_scale_factor is not None:
        gradient = tf.convert_to_tensor(gradient)  # Keras divides it again, which takes dense ones
    return None if gradient is None else optimizer.scale_loss(gradient)
