"""Evaluation over many tasks, with a confidence interval over tasks."""

import dataclasses
import functools
import math
import signal
from typing import Any, Literal, overload

import numpy as np
import tensorflow as tf

from keras_imaml._utils.accuracy import accuracies
from keras_imaml._utils.progress_bar import WaitingBar
from keras_imaml._utils.signals import HeldSignal
from keras_imaml._utils.tracing import TracedByRank
from keras_imaml._utils.validation import check_integer
from keras_imaml.learner.certificates import certificates
from keras_imaml.learner.classes_of_tasks import check_way
from keras_imaml.learner.input_checks import check_element
from keras_imaml.learner.meta_batch import outcomes
from keras_imaml.learner.meta_learner import MetaLearner
from keras_imaml.learner.task_metrics import TaskMetrics

_METRIC, _BEFORE = "metric/", "before/"  # of the columns that hold metrics of `compile`


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How well a learner adapts to tasks.

    Attributes:
        tasks: Number of tasks that were evaluated, bad ones left out.
        bad_tasks: Number of tasks with NaN or infinity, or with an inner loop that diverged.
        transductive: Whether query examples shared their normalization statistics.
        loss: Mean query loss after adaptation.
        loss_ci95: Half the width of its 95 % interval over tasks; NaN for a single task.
        loss_before: Mean query loss of the meta-learned weights, without adaptation.
        accuracy: Mean query accuracy after adaptation, from 0 to 1, if the loss is a
            cross-entropy of Keras and there is one output; else None.
        ci95: Half the width of its 95 % interval over tasks, `1.96 std / sqrt(tasks)`.
        accuracy_before: Mean query accuracy without adaptation.
        metrics: For each metric of `compile` a dictionary: `"value"`, the mean over tasks of the
            metric of their query sets, its `"ci95"`, and `"before"` adaptation. Lists of numbers
            for a metric that is a vector. A task where it is NaN is left out of it.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.IMAML())
    learner.compile(loss="mse")
    evaluation = ki.evaluate(learner, ki.data.sinusoid("test").batch(4), num_tasks=4)
    print(evaluation, evaluation.loss_before)
    ```
    """

    tasks: int
    bad_tasks: int
    transductive: bool
    loss: float
    loss_ci95: float
    loss_before: float
    accuracy: float | None
    ci95: float | None
    accuracy_before: float | None
    metrics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        mode = "transductive" if self.transductive else "non-transductive"
        bad = f" ({self.bad_tasks} bad ones left out)" if self.bad_tasks else ""
        known = not math.isnan(self.loss_ci95)
        interval = "95 % interval" if known else "interval unknown"
        scope = f"{self.tasks} task{'s' * (self.tasks > 1)}{bad}, {mode}, {interval}"
        if self.accuracy is None or self.ci95 is None:
            half = f" ± {self.loss_ci95:.4f}" if known else ""
            return (
                f"query loss {self.loss:.4f}{half} ({scope}; "
                f"{self.loss_before:.4f} before adaptation)"
            )
        half = f" ± {100 * self.ci95:.2f}" if known else ""
        return f"accuracy {100 * self.accuracy:.2f}{half} % ({scope}), query loss {self.loss:.4f}"


@overload
def evaluate(
    learner: MetaLearner,
    tasks: tf.data.Dataset,
    num_tasks: int = 600,
    verbose: str | int = "auto",
    per_task: Literal[False] = False,
) -> Evaluation: ...


@overload
def evaluate(
    learner: MetaLearner,
    tasks: tf.data.Dataset,
    num_tasks: int = 600,
    verbose: str | int = "auto",
    *,
    per_task: Literal[True],
) -> dict[str, np.ndarray]: ...


def evaluate(
    learner: MetaLearner,
    tasks: tf.data.Dataset,
    num_tasks: int = 600,
    verbose: str | int = "auto",
    per_task: bool = False,
) -> Evaluation | dict[str, np.ndarray]:
    """Adapt to `num_tasks` tasks and evaluate their query sets.

    Args:
        learner: A compiled learner.
        tasks: Meta-batches, as for `learner.fit`.
        num_tasks: How many tasks; the last batch is cut to meet it. Defaults to `600`.
        verbose: `1`: a progress bar; `0`: none; `"auto"`: on a terminal, once it has taken more
            than a moment. Defaults to `"auto"`.
        per_task: Whether to return a table of the tasks, with the certificate of each: `valid`,
            `inner_residual` (delta) and `linear_residual` (delta'). It takes a meta-gradient more
            for each task. Defaults to `False`.

    Returns:
        An `Evaluation`. Accuracies follow the loss: its `ignore_class`, and its `from_logits` for
        a single output. With `per_task=True` a dictionary of arrays `[num_tasks]` in its place,
        with NaN for bad tasks but in `valid`, which `pandas.DataFrame` takes: `loss`,
        `loss_before`, `accuracy` and `accuracy_before` if there is one, each metric of `compile`
        as `metric/name` and `before/metric/name`, and what the algorithm reports of each task.

    Raises:
        ValueError: If the data ends before `num_tasks` tasks, or every task is bad (without
            `per_task`).

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.sinusoid("test", seed=0).batch(20)
    print(ki.evaluate(learner, tasks, num_tasks=600))
    table = ki.evaluate(learner, tasks, num_tasks=100, per_task=True)
    print(table["valid"].mean(), table["inner_residual"].max())
    ```
    """
    check_integer("num_tasks", num_tasks, minimum=1)
    if not isinstance(learner, MetaLearner) or not learner.compiled:
        received = "one that is not compiled" if isinstance(learner, MetaLearner) else repr(learner)
        raise ValueError(
            "Invalid value for `learner`. Expected a compiled keras_imaml.MetaLearner. "
            f"Received: {received}"
        )
    check_way(learner.model, (learner.loss, learner.inner_loss), tasks)
    learner.parameters.check_unchanged()
    if learner._evaluation is None:
        learner._evaluation = _Evaluation(learner)
    step = learner._evaluation.certified if per_task else learner._evaluation
    bar = WaitingBar(num_tasks, "Evaluating", unit_name="task", verbose=verbose)
    columns: dict[str, list[np.ndarray]] = {}
    done = 0
    with HeldSignal(signal.SIGINT, "this meta-batch") as interrupt:
        for data in tasks:
            values = {name: value.numpy()[: num_tasks - done] for name, value in step(data).items()}
            interrupt.act()
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
            done += len(values["loss"])
            bar.update(done)
            if done == num_tasks:
                break
    if done < num_tasks:
        raise ValueError(
            f"The data ended after {done} tasks. Expected {num_tasks}: repeat the data, or ask "
            f"for fewer. Received: num_tasks={num_tasks}"
        )
    results = {name: np.concatenate(parts) for name, parts in columns.items()}
    if per_task:
        return _table(results)
    valid = results.pop("valid")
    if not valid.any():
        raise ValueError(
            f"None of the {num_tasks} tasks could be evaluated: NaN or infinity in the data, in "
            "the learned weights, or from an inner loop that diverges (lower its learning rate)."
        )
    valid_values = {name: values[valid] for name, values in results.items()}
    accuracy, accuracy_before = valid_values.get("accuracy"), valid_values.get("accuracy_before")
    return Evaluation(
        tasks=int(valid.sum()),
        bad_tasks=int((~valid).sum()),
        transductive=learner.queries_interact,
        loss=_mean(valid_values["loss"]),
        loss_ci95=_half_width(valid_values["loss"]),
        loss_before=_mean(valid_values["loss_before"]),
        accuracy=None if accuracy is None else _mean(accuracy),
        ci95=None if accuracy is None else _half_width(accuracy),
        accuracy_before=None if accuracy_before is None else _mean(accuracy_before),
        metrics={
            name.removeprefix(_METRIC): {
                "value": _mean(values),
                "ci95": _half_width(values),
                "before": _mean(valid_values[_BEFORE + name]),
            }
            for name, values in valid_values.items()
            if name.startswith(_METRIC)
        },
    )


class _Evaluation:
    """The figures of the tasks of a meta-batch, in a graph that is kept.

    Args:
        learner: A compiled learner.
        certify: Whether certificates are among them. Defaults to `False`.
    """

    def __init__(self, learner: MetaLearner, certify: bool = False) -> None:
        self._metrics = TaskMetrics(learner)
        self._learner = learner
        self.graphs = TracedByRank(lambda data: _step(learner, self._metrics, data, certify))

    @functools.cached_property
    def certified(self) -> "_Evaluation":
        """The same with certificates."""
        return _Evaluation(self._learner, certify=True)

    def __call__(self, data: Any) -> dict[str, tf.Tensor]:
        """The figures by name, `[tasks, ...]`."""
        _, (query_x, query_y, _), _ = check_element(data)
        self._metrics.build(query_x, query_y)
        return self.graphs(data)


def _step(
    learner: MetaLearner, metrics: TaskMetrics, data: Any, certify: bool
) -> dict[str, tf.Tensor]:
    objective = learner.objective(data, training=False)
    before, after = outcomes(learner.algorithm, objective, learner.tasks_per_chunk)
    values = {"loss": after.losses, "loss_before": before.losses, "valid": after.valid}
    labels = objective.tasks.query_y
    present = objective.tasks.present(query=True)
    accuracy = accuracies(learner.loss, labels, after.outputs, present)
    accuracy_before = accuracies(learner.loss, labels, before.outputs, present)
    if accuracy is not None and accuracy_before is not None:
        values |= {"accuracy": accuracy, "accuracy_before": accuracy_before}
    for prefix, outputs in (("", after.outputs), (_BEFORE, before.outputs)):
        of_metrics = metrics(labels, outputs, objective.tasks.query_weights)
        values |= {f"{prefix}{_METRIC}{name}": value for name, value in of_metrics.items()}
    if certify:
        values |= certificates(learner.algorithm, objective, learner.tasks_per_chunk)
    return values


def _table(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of one number per task: a metric that is a vector becomes several."""
    flat: dict[str, np.ndarray] = {"valid": columns.pop("valid")}
    for name, values in columns.items():
        numbers = [name]
        if values.ndim > 1:
            numbers = [f"{name}_{number}" for number in range(values[0].size)]
        rows = np.where(flat["valid"][:, None], values.reshape(len(values), -1), np.nan)
        flat |= dict(zip(numbers, rows.T, strict=True))
    return flat


def _mean(values: np.ndarray) -> Any:
    """The mean over the tasks where `values` are a number."""
    counts = (~np.isnan(values)).sum(axis=0)
    return (np.nansum(values, axis=0) / np.where(counts, counts, np.nan)).tolist()


def _half_width(values: np.ndarray) -> Any:
    counts = (~np.isnan(values)).sum(axis=0)
    deviations = values - np.asarray(_mean(values))
    # One task has no interval.
    variance = np.nansum(deviations**2, axis=0) / np.where(counts > 1, counts, np.nan)
    return (1.96 * np.sqrt(variance / counts)).tolist()
