"""How the steps of a learner become functions that `fit` and `evaluate` call."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.datasets import peeked
from keras_imaml._compat.graph_optimizer import learner_graphs
from keras_imaml._compat.keras_attributes import compiled_loss, compiled_metrics, given_metrics
from keras_imaml._compat.keras_graph import output_spec
from keras_imaml._compat.symbolic_build import NotBuiltFromData
from keras_imaml._utils.outputs import check_targets_of_metrics, targets_of_outputs
from keras_imaml._utils.structures import symbolic
from keras_imaml.distribution import replicas
from keras_imaml.learner.classes_of_tasks import check_way
from keras_imaml.learner.first_step import FirstStep
from keras_imaml.learner.input_checks import check_element, check_end, check_examples
from keras_imaml.learner.mixin import ModelMixin
from keras_imaml.learner.objective_builder import ObjectiveBuilder
from keras_imaml.learner.tuple_batches import with_tuples
from keras_imaml.meta_parameters.parameters import Parameters


class StepFunctions(NotBuiltFromData, ModelMixin):
    """A mixin of `MetaLearner`, which makes graphs of its `train_step` and `test_step`.

    They run on every replica, with variables that are made before.
    """

    model: keras.Model
    parameters: Parameters
    first_step: FirstStep
    _objectives: ObjectiveBuilder
    train_function: Any
    test_function: Any

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """See `keras.Model.fit`; data without an end needs a number of steps."""
        args, kwargs = with_tuples(args), with_tuples(kwargs)
        given = _arguments(keras.Model.fit, self, args, kwargs)
        if given.get("class_weight") is not None:
            raise ValueError(
                "Invalid value for `class_weight`. Expected None: the classes of a task are "
                "numbered for this task alone, and its support and query set would both need the "
                "weights. Give elements with weights of examples instead: ((support_x, support_y, "
                "support_weights), (query_x, query_y, query_weights)). Received: class_weight="
                f"{given['class_weight']!r}"
            )
        check_end("x", given.get("x"), "steps_per_epoch", given.get("steps_per_epoch"))
        validation = given.get("validation_data")
        for data in (given.get("x"), validation):
            check_way(self.model, (self.loss, self.inner_loss), data)
        check_end("validation_data", validation, "validation_steps", given.get("validation_steps"))
        return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.evaluate`; data without an end needs a number of steps."""
        args, kwargs = with_tuples(args), with_tuples(kwargs)
        given = _arguments(keras.Model.evaluate, self, args, kwargs)
        check_way(self.model, (self.loss, self.inner_loss), given.get("x"))
        check_end("x", given.get("x"), "steps", given.get("steps"))
        return super().evaluate(*args, **kwargs)

    def reset_metrics(self) -> None:
        """See `keras.Model.reset_metrics`. Several workers do so together; one may be lost."""
        with replicas.lost_worker_reported(self.distribute_strategy):
            super().reset_metrics()

    def get_metrics_result(self) -> dict[str, Any]:
        """See `keras.Model.get_metrics_result`. Workers do so together, too."""
        with replicas.lost_worker_reported(self.distribute_strategy):
            return super().get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        """The network at the meta-learned weights, for examples; tasks are refused."""
        check_examples(self.model, data)
        return super().predict_step(data)

    def make_train_function(self, force: bool = False) -> Any:
        """See `keras.Model.make_train_function`."""
        return self._made("train", super().make_train_function, force)

    def make_test_function(self, force: bool = False) -> Any:
        """See `keras.Model.make_test_function`."""
        return self._made("test", super().make_test_function, force)

    def _made(self, kind: str, by_keras: Callable[[bool], Any], force: bool) -> Any:
        replicas.check_variables(tf.distribute.get_strategy(), self.variables, "the learner")
        self.parameters.check_unchanged()  # a function that was traced before would not see it
        name = f"{kind}_function"
        if getattr(self, name) is None or force:
            if replicas.is_distributed(self.distribute_strategy):
                setattr(self, name, self._on_replicas(getattr(self, f"{kind}_step")))
            else:
                by_keras(force)
            setattr(self, name, self._metrics_first(getattr(self, name)))
        return getattr(self, name)

    def _on_replicas(self, step: Any) -> Any:
        if self.jit_compile:
            raise ValueError(
                "Invalid value for `jit_compile`. Expected False on several replicas. "
                "Received: jit_compile=True"
            )
        steps = self.steps_per_execution
        return replicas.step_function(step, self.distribute_strategy, steps, self.run_eagerly)

    def _metrics_first(self, function: Any) -> Any:
        """Create variables before the first call: one that creates some is traced twice."""

        def run(iterator: Any) -> Any:
            losses = self._objectives.outer_loss, self._objectives.inner_loss
            parts = (*(loss.compiled for loss in losses), compiled_metrics(self))
            if not all(part is None or part.built for part in parts):
                spec, iterator = peeked(iterator)
                with self.distribute_strategy.scope():
                    self._build_metrics(spec)
            with learner_graphs():
                logs = function(iterator)
            self.first_step.check()
            return logs

        return run

    def _build_metrics(self, spec: Any) -> None:
        (_, support_y, _), (x, y, _), _ = check_element(spec)
        # The query sets of all tasks, one after another.
        outputs = output_spec(self.model, symbolic(x, first_axis=2))
        names = self.output_names
        inner = self._objectives.inner_loss
        if inner is not self._objectives.outer_loss:
            inner.build(inner.targets(symbolic(support_y, first_axis=2), outputs), outputs)
        y = targets_of_outputs(symbolic(y, first_axis=2), outputs, names, self.loss)
        compiled = compiled_metrics(self)
        for metrics in () if compiled is None else given_metrics(compiled):
            check_targets_of_metrics(metrics, y, outputs, names)
        for part in (compiled_loss(self), compiled_metrics(self)):
            if part is not None and not part.built:
                part.build(y, outputs)


def _arguments(function: Any, instance: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """By name, what a method of Keras would be called with; nothing if it does not take that."""
    try:
        return inspect.signature(function).bind(instance, *args, **kwargs).arguments
    except TypeError:  # which Keras says itself
        return {}
