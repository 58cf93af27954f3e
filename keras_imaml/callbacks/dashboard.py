"""A run in TensorBoard, in groups that can be read at a glance."""

import os
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.keras_attributes import compiled_metrics, step_counter
from keras_imaml._utils.validation import check_integer
from keras_imaml.algorithms import Algorithm
from keras_imaml.callbacks.episode_picture import episode_picture
from keras_imaml.callbacks.event_files import EventFiles
from keras_imaml.callbacks.probe import Measurements, Probe
from keras_imaml.distribution import is_chief
from keras_imaml.meta_parameters.positive import PositiveParameter

_TAGS = {
    "inner_residual": "inner/residual",
    "inner_steps": "inner/steps",
    "distance": "inner/distance",
    "linear_residual": "linear/residual",
    "linear_steps": "linear/steps",
    "negative_curvature": "curvature/share_of_negative",
    "first_order_cosine": "meta_gradient/first_order_cosine_by_task",
    "proximal_strength": "lambda/mean",
    "bad_tasks": "tasks/bad_share",
    "transductive": "tasks/transductive",
}

# Figures of the HParams table, and the runs below the folder that hold them.
_RESULTS = {
    "result/accuracy": "",
    "result/loss": "",
    "adaptation/loss": "validation",
    "time/step_ms": "train",
}


class Dashboard(keras.callbacks.Callback):
    """Log a meta-learning run for TensorBoard, in groups by topic.

    The horizontal axis counts meta-steps. The folder holds these runs:

    * `train`: the logs of `fit` as means over the last `every` meta-steps, and the time of a step.
      After every epoch: lambda and learned step sizes (one curve a layer), the norm of theta, and
      histograms of the weights. Before training: the graph of a functional network.
    * `validation`: the same figures for the validation data of `fit`.
    * `probe`, `probe_before`: one fixed meta-batch after and before adaptation: loss and accuracy,
      how far each layer moves, the norm of the meta-gradient and its cosine to the first-order
      one, the curvature along the query gradient, the time of a meta-gradient of data that lie in
      memory; pictures of the first tasks.
    * `linear/step_N`: the residual of the linear solver on the probe against its own steps, after
      epochs 0, 1, 2, 4, 8 and so on of this process.

    Args:
        log_dir: TensorBoard's folder of this run.
        tasks: Meta-batches, as for `fit`; the first one is the probe, which is measured before the
            first meta-step and after every epoch that is not interrupted, as by
            `keras_imaml.callbacks.StopOnSignal`. Defaults to `None`: no probe.
        hparams: Settings of the run for the table of the HParams tab: names to booleans, numbers
            or strings. Defaults to `None`: the run is not in the table.
        every: Meta-steps between two points of `train`. Defaults to `20`.
        pictures: How many tasks of the probe to draw, of images `[height, width, 1 or 3]` with
            class numbers; others have no picture (see `keras_imaml.callbacks.SinusoidPlot`).
            Defaults to `2`.

    Raises:
        ValueError: If an argument is invalid, or the model is not a `keras_imaml.MetaLearner`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(), ki.IMAML(proximal_strength=0.5))
    learner.compile(optimizer="adam", loss="mse")
    dashboard = ki.callbacks.Dashboard(
        "runs/mine",
        ki.data.sinusoid("validation").batch(8),
        hparams={"proximal_strength": 0.5},
    )
    tasks = ki.data.sinusoid("train").batch(8)
    learner.fit(tasks, steps_per_epoch=4, epochs=2, callbacks=[dashboard])
    dashboard.record(ki.evaluate(learner, ki.data.sinusoid("test").batch(8), num_tasks=16))
    # then, in a shell: tensorboard --logdir runs
    ```
    """

    def __init__(
        self,
        log_dir: str,
        tasks: tf.data.Dataset | None = None,
        hparams: Mapping[str, bool | int | float | str] | None = None,
        every: int = 20,
        pictures: int = 2,
    ) -> None:
        super().__init__()
        self.probe = None if tasks is None else Probe(tasks)
        self.hparams = None if hparams is None else _checked(hparams)
        self.every = check_integer("every", every, minimum=1)
        self.pictures = check_integer("pictures", pictures, minimum=0)
        self._files = EventFiles(os.fspath(log_dir))
        self._writes = True
        self._epochs = 0

    def set_model(self, model: keras.Model) -> None:
        """Look at the learner that is going to be trained."""
        if not isinstance(getattr(model, "algorithm", None), Algorithm):
            raise ValueError(
                "Invalid model for keras_imaml.callbacks.Dashboard. Expected a "
                "keras_imaml.MetaLearner; for others there is keras.callbacks.TensorBoard. "
                f"Received: {type(model).__name__}"
            )
        super().set_model(model)
        self._writes = is_chief(model.distribute_strategy)  # of several machines

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Before the first step: write settings and graph, and measure the probe."""
        if not self._writes:
            return
        if self.hparams is not None:
            self._write_hparams()
        if not self._step():
            if getattr(self.model.model, "inputs", None):
                with self._files.of("train").as_default():
                    tf.summary.graph(_graph_of(self.model.model))
            self._write_state()
            self._write_probe()
            self._files.flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start to take means."""
        self._done = self._steps = 0
        self._stopped = False
        self._sums: dict[str, float] = {}
        self._in_steps = self._between = 0.0
        self._last = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of a step."""
        clock = time.perf_counter()
        self._between += clock - self._last
        self._last = clock

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock of a step; write means after every `every` steps."""
        clock = time.perf_counter()
        self._in_steps += clock - self._last
        self._last = clock
        self._done = batch + 1
        if self._done - self._steps >= self.every:
            self._write_window(logs or {})
        self._stopped = bool(self.model.stop_training)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of the validation."""
        self._test_begin = time.perf_counter()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock of the validation."""
        self._test_seconds = time.perf_counter() - self._test_begin
        self._stopped = bool(self.model.stop_training)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the validation, the state of the learner and the probe."""
        if not self._writes:
            return
        step, logs, means = self._step(), logs or {}, self._means()
        if self._done > self._steps:
            self._write_window(logs)
        training_logs = {name: v for name, v in logs.items() if not name.startswith("val_")}
        epoch_values = _numbers({n: v for n, v in training_logs.items() if n not in means})
        if epoch_values:  # metrics that are not means have no value within an epoch
            self._files.scalars("train", epoch_values, step)
        values = _numbers({n[4:]: v for n, v in logs.items() if n.startswith("val_")})
        if values:
            values["time/validation_s"] = self._test_seconds
            self._files.scalars("validation", values, step)
        self._epochs += 1
        self._write_state()
        if not self._is_interrupted():  # a machine that is taken away does not wait for the probe
            self._write_probe()
        self._files.flush()

    def record(self, evaluation: Any) -> None:
        """Write the final figures of the run, which the table of the HParams tab shows.

        Args:
            evaluation: What `keras_imaml.evaluate` returned.

        Raises:
            ValueError: If the dashboard has not seen a learner yet, by `fit` or `set_model`.
        """
        if self.model is None:
            raise ValueError(
                "This dashboard has not seen a learner yet. Expected record(...) after "
                "learner.fit(..., callbacks=[dashboard]), or dashboard.set_model(learner) before."
            )
        values = {
            "result/loss": evaluation.loss,
            "result/loss_before": evaluation.loss_before,
        }
        if evaluation.accuracy is not None:
            values["result/accuracy"] = evaluation.accuracy
            values["result/accuracy_before"] = evaluation.accuracy_before
        for name, metric in evaluation.metrics.items():
            for moment, value in (("", metric["value"]), ("_before", metric["before"])):
                values |= _split(f"result/metrics/{name}{moment}", value)
        self._files.scalars("", values, self._step())
        self._files.flush()

    def _is_interrupted(self) -> bool:
        """Whether training was asked to stop before the end of the epoch.

        `EarlyStopping` asks at its end, and the probe then shows the final state.
        """
        steps = (self.params or {}).get("steps")
        within_steps = steps is not None and self._done < steps
        return self._stopped or (within_steps and self.model.stop_training)

    def _step(self) -> int:
        return int(step_counter(self.model.optimizer).numpy())

    def _means(self) -> set[str]:
        """Names of metrics that are means; Keras creates some of them in the first step."""
        compiled = compiled_metrics(self.model)
        metrics = [*self.model.metrics, *(compiled.metrics if compiled is not None else ())]
        return {metric.name for metric in metrics if isinstance(metric, keras.metrics.Mean)}

    def _write_hparams(self) -> None:
        # Takes as long as this package. `api` would ask for `tf.keras`, which need not be Keras 3.
        from tensorboard.plugins.hparams import summary_v2 as hp

        metrics = [hp.Metric(tag, group=run or None) for tag, run in _RESULTS.items()]
        with self._files.of("").as_default():
            hp.hparams_config([hp.HParam(name) for name in self.hparams or ()], metrics)
            hp.hparams(self.hparams)

    def _write_window(self, logs: Mapping[str, Any]) -> None:
        """Write the means of the steps since the last call; Keras logs means of the epoch."""
        steps, values = self._done, {}
        count = steps - self._steps
        for name in self._means() & set(logs):
            total = float(logs[name]) * steps
            values[_tag(name)] = (total - self._sums.get(name, 0.0)) / count
            self._sums[name] = total
        values["time/step_ms"] = 1e3 * self._in_steps / count
        values["time/between_steps_ms"] = 1e3 * self._between / count
        self._steps, self._in_steps, self._between = steps, 0.0, 0.0
        if self._writes:
            self._files.scalars("train", values, self._step())

    def _write_state(self) -> None:
        """Write theta, and the numbers that the algorithm and the optimizer hold."""
        step, learner, algorithm = self._step(), self.model, self.model.algorithm
        values = {
            "weights/norm": float(tf.norm(learner.parameters.theta())),
            "outer/learning_rate": float(tf.convert_to_tensor(learner.optimizer.learning_rate)),
        }
        layers = [group.name for group in learner.parameters.groups]
        parameters = (
            getattr(algorithm, "proximal_strength", None),
            getattr(algorithm, "learning_rate", None),
        )
        for group, parameter in zip(("lambda", "inner_learning_rate"), parameters, strict=True):
            if not isinstance(parameter, PositiveParameter):
                continue
            numbers = np.exp(parameter.logarithm.numpy())
            values[f"{group}/mean"] = float(parameter.value().numpy().mean())
            if parameter.per == "layer":
                values |= {f"{group}/{n}": float(v) for n, v in zip(layers, numbers, strict=True)}
            elif parameter.per == "weight":
                with self._files.of("train").as_default():
                    tf.summary.histogram(f"{group}/all", numbers, step=step)
        self._files.scalars("train", values, step)
        with self._files.of("train").as_default():
            for variable in learner.model.trainable_variables:
                tf.summary.histogram(f"weights/{variable.path}", variable.numpy(), step=step)

    def _write_probe(self) -> None:
        if self.probe is None:
            return
        step, start = self._step(), time.perf_counter()
        measurements = self.probe.measure(self.model)
        self._files.scalars("probe_before", measurements.before, step)
        self._files.scalars("probe", measurements.after, step)
        self._write_pictures(measurements, step)
        if self._epochs & (self._epochs - 1) == 0:  # 0, 1, 2, 4, 8, ...
            for steps_taken, residual in enumerate(measurements.residuals):
                name = f"linear/step_{step:06d}"
                self._files.scalars(
                    name, {"linear/residual_against_its_steps": residual}, steps_taken
                )
        times = {"time/probe_s": time.perf_counter() - start}
        self._files.scalars("train", times, step)

    def _write_pictures(self, measurements: Measurements, step: int) -> None:
        assert self.probe is not None
        (*support, support_weights), (*query, query_weights), _ = self.probe.data
        drawable = all(tf.is_tensor(part) for part in (*support, *query))
        drawable = drawable and support[0].shape.rank == 5 and support[0].shape[-1] in (1, 3)
        # A picture is of one class an example, not one a pixel.
        if measurements.predictions is None or measurements.predictions.ndim != 2 or not drawable:
            return
        with self._files.of("probe").as_default():
            for i in range(min(self.pictures, len(support[0]))):
                task = [_of_task(part, support_weights, i) for part in support]
                of_queries = (*query, measurements.predictions)
                task += [_of_task(part, query_weights, i) for part in of_queries]
                if all(map(len, task)):
                    picture = episode_picture(task[0], task[1], task[2], task[3], task[4])
                    tf.summary.image(f"episodes/task_{i}", picture[None], step=step)


def _of_task(part: Any, weights: Any, task: int) -> np.ndarray:
    """The examples of one task that are there."""
    rows = np.asarray(part[task])
    return rows[np.asarray(weights[task]) > 0] if tf.is_tensor(weights) else rows


def _tag(name: str) -> str:
    return _TAGS.get(name, f"adaptation/{name}")


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Logs by tag; a metric that is a vector has a curve for each of its entries."""
    numbers: dict[str, float] = {}
    for name, value in logs.items():
        numbers |= _split(_tag(name), value)
    return numbers


def _split(tag: str, value: Any) -> dict[str, float]:
    array = np.asarray(value)
    if not array.ndim:
        return {tag: float(array)}
    return {f"{tag}/{i}": float(number) for i, number in enumerate(array.ravel())}


def _checked(hparams: Any) -> dict[str, Any]:
    if not isinstance(hparams, Mapping) or not all(
        isinstance(name, str) and isinstance(value, bool | int | float | str)
        for name, value in hparams.items()
    ):
        raise ValueError(
            "Invalid value for `hparams`. Expected names of settings with booleans, numbers or "
            f"strings as values. Received: hparams={hparams!r}"
        )
    return dict(hparams)


def _graph_of(network: keras.Model) -> Any:
    """The graph of a functional network for the examples of one task."""
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in network.inputs]
    inputs = specs[0] if len(specs) == 1 else specs
    return tf.function(lambda x: network(x), autograph=False).get_concrete_function(inputs).graph
