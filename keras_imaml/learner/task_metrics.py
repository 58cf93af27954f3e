"""The metrics of `compile`, task by task."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import compiled_metrics, of_one_task


class TaskMetrics:
    """The metrics that a learner was compiled with, each for one task alone.

    The state of the learner's own metrics stays as it is.

    Args:
        learner: A compiled learner.
    """

    def __init__(self, learner: Any) -> None:
        self._model = learner.model
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

        def of_task(part: Any) -> keras.KerasTensor:
            part = tf.convert_to_tensor(part)
            return keras.KerasTensor(tuple(part.shape[1:]), part.dtype.name)

        x, labels = keras.tree.map_structure(of_task, (x, labels))
        self._metrics.build(labels, self._model.compute_output_spec(x))

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
        every = (labels, outputs, *((weights,) if tf.is_tensor(weights) else ()))
        first = keras.tree.map_structure(lambda x: x[0], every)

        def of_task(task: Any) -> dict[str, tf.Tensor]:
            if len(task) > 2:
                present = task[2] > 0
                task = keras.tree.map_structure(lambda x: tf.boolean_mask(x, present), task)
            fresh = metrics.stateless_reset_state()
            updated = metrics.stateless_update_state(fresh, *task)
            found = metrics.stateless_result(updated)
            return {name: tf.cast(value, tf.float64) for name, value in found.items()}

        dtypes = dict.fromkeys(of_task(first), tf.float64)
        return tf.map_fn(of_task, every, fn_output_signature=dtypes)
