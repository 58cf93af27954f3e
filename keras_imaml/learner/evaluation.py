"""Evaluation over many tasks, with a confidence interval over tasks."""

import dataclasses
import signal
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._utils.accuracy import accuracies
from keras_imaml._utils.progress_bar import WaitingBar
from keras_imaml._utils.signals import HeldSignal
from keras_imaml._utils.tracing import TracedByRank
from keras_imaml._utils.validation import check_integer
from keras_imaml.learner.meta_batch import outcomes
from keras_imaml.learner.meta_learner import MetaLearner
from keras_imaml.learner.step_metrics import metrics_of_compile


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How well a learner adapts to tasks.

    Attributes:
        tasks: Number of tasks that were evaluated, bad ones left out.
        bad_tasks: Number of tasks with NaN or infinity, or with an inner loop that diverged.
        transductive: Whether query examples shared their normalization statistics.
        loss: Mean query loss after adaptation.
        loss_ci95: Half the width of its 95 % interval over tasks.
        loss_before: Mean query loss of the meta-learned weights, without adaptation.
        accuracy: Mean query accuracy after adaptation, from 0 to 1; None for what is no
            classification.
        ci95: Half the width of its 95 % interval over tasks, `1.96 std / sqrt(tasks)`.
        accuracy_before: Mean query accuracy without adaptation.
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

    def __str__(self) -> str:
        mode = "transductive" if self.transductive else "non-transductive"
        bad = f" ({self.bad_tasks} bad ones left out)" if self.bad_tasks else ""
        where = f"{self.tasks} tasks{bad}, {mode}, 95 % interval"
        if self.accuracy is None or self.ci95 is None:
            return (
                f"query loss {self.loss:.4f} ± {self.loss_ci95:.4f} ({where}; "
                f"{self.loss_before:.4f} before adaptation)"
            )
        return (
            f"accuracy {100 * self.accuracy:.2f} ± {100 * self.ci95:.2f} % ({where}), "
            f"query loss {self.loss:.4f}"
        )


def evaluate(
    learner: MetaLearner,
    tasks: tf.data.Dataset,
    num_tasks: int = 600,
    verbose: str | int = "auto",
) -> Evaluation:
    """Adapt to `num_tasks` tasks and evaluate their query sets.

    Args:
        learner: A compiled learner.
        tasks: Meta-batches, as for `learner.fit`.
        num_tasks: How many tasks; the last batch is cut to meet it. Defaults to `600`.
        verbose: `1`: a progress bar; `0`: none; `"auto"`: on a terminal, once it has taken more
            than a moment. Defaults to `"auto"`.

    Returns:
        An `Evaluation`. There is an accuracy if the loss is a cross-entropy, or if `compile`
        got the metric `"accuracy"`. Labels that the loss ignores do not count.

    Raises:
        ValueError: If the data ends before `num_tasks` tasks, or every task is bad.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.sinusoid("test", seed=0).batch(20)
    print(ki.evaluate(learner, tasks, num_tasks=600))
    ```
    """
    check_integer("num_tasks", num_tasks, minimum=1)
    if not isinstance(learner, MetaLearner) or not learner.compiled:
        what = "one that is not compiled" if isinstance(learner, MetaLearner) else repr(learner)
        raise ValueError(
            "Invalid value for `learner`. Expected a compiled keras_imaml.MetaLearner. "
            f"Received: {what}"
        )
    learner.parameters.check_unchanged()
    if learner._evaluation is None:
        learner._evaluation = TracedByRank(lambda data: _step(learner, data))
    step = learner._evaluation
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
    valid = results.pop("valid")
    if not valid.any():
        raise ValueError(
            f"None of the {num_tasks} tasks could be evaluated: NaN or infinity in the data, in "
            "the learned weights, or from an inner loop that diverges (lower its learning rate)."
        )
    # NaN: all labels of a task are ignored.
    means = {name: float(np.nanmean(values[valid])) for name, values in results.items()}
    return Evaluation(
        tasks=int(valid.sum()),
        bad_tasks=int((~valid).sum()),
        transductive=learner.queries_interact,
        loss=means["loss"],
        loss_ci95=_half_width(results["loss"][valid]),
        loss_before=means["loss_before"],
        accuracy=means.get("accuracy"),
        ci95=_half_width(results["accuracy"][valid]) if "accuracy" in results else None,
        accuracy_before=means.get("accuracy_before"),
    )


def _step(learner: MetaLearner, data: Any) -> dict[str, tf.Tensor]:
    objective = learner.objective(data, training=False)
    before, after = outcomes(learner.algorithm, objective, learner.tasks_per_chunk)
    values = {"loss": after.losses, "loss_before": before.losses, "valid": after.valid}
    labels = objective.tasks.query_y
    for name, outcome in (("accuracy", after), ("accuracy_before", before)):
        shares = accuracies(labels, outcome.outputs, learner.loss, metrics_of_compile(learner))
        if shares is not None:
            values[name] = shares
    return values


def _half_width(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan")  # one task has no interval
    return float(1.96 * values.std() / np.sqrt(len(values)))
