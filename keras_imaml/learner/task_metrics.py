"""The metrics of `compile`, task by task."""

from typing import Any

import tensorflow as tf

from keras_imaml._compat.keras_attributes import compiled_metrics, of_one_task
from keras_imaml._compat.keras_graph import output_spec
from keras_imaml._utils.outputs import targets_of_outputs
from keras_imaml._utils.structures import symbolic, with_none


class TaskMetrics:
    """The metrics that a learner was compiled with, each for one task alone.

    The state of the learner's own metrics stays as it is.

    Args:
        learner: A compiled learner.
    """

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        compiled = compiled_metrics(learner)
        # Another container of the same metrics: names of metrics get variables of their own.
        self._metrics = compiled and of_one_task(compiled, learner.output_names)

    def build(self, x: Any, labels: Any) -> None:
        """Make the variables, before a graph is traced: one that makes them is traced twice.

        Args:
            x: The inputs of query sets, with a leading task axis.
            labels: Their labels, in the same way.
        """
        if self._metrics is None or self._metrics.built:
            return
        outputs = output_spec(self._learner.model, symbolic(x, first_axis=2))
        self._metrics.build(self._arranged(symbolic(labels, first_axis=2), outputs), outputs)

    def __call__(self, labels: Any, outputs: Any, weights: Any = ()) -> dict[str, tf.Tensor]:
        """The metrics by name, `[tasks, ...]`, float64.

        Args:
            labels: Of the query sets, with a leading task axis.
            outputs: Of the network, in the same way.
            weights: Of the queries, `[tasks, queries]`, 0 where there is none. Defaults to `()`:
                all are there.
        """
        metrics = self._metrics
        if metrics is None:
            return {}
        tensors = (labels, outputs, *((weights,) if tf.is_tensor(weights) else ()))
        first = tf.nest.map_structure(lambda x: x[0], tensors)

        def of_task(task: Any) -> dict[str, tf.Tensor]:
            if len(task) > 2:
                present = task[2] > 0
                task = tf.nest.map_structure(lambda x: tf.boolean_mask(x, present), task)
            fresh = metrics.stateless_reset_state()
            labels, outputs = task[:2]
            targets = self._arranged(with_none(labels), outputs)
            updated = metrics.stateless_update_state(fresh, targets, outputs)
            values = metrics.stateless_result(updated)
            return {name: tf.cast(value, tf.float64) for name, value in values.items()}

        dtypes = dict.fromkeys(of_task(first), tf.float64)
        return tf.map_fn(of_task, tensors, fn_output_signature=dtypes)

    def _arranged(self, labels: Any, outputs: Any) -> Any:
        """The labels in the structure of the outputs."""
        return targets_of_outputs(labels, outputs, self._learner.output_names, self._learner.loss)
