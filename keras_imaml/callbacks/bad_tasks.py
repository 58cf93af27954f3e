"""Stop training when too many tasks are invalid."""

import collections
from typing import Any

import keras

from keras_imaml._compat.keras_attributes import step_counter
from keras_imaml._utils.validation import check_integer, check_number


class StopOnBadTasks(keras.callbacks.Callback):
    """Stop `fit` with advice when too many tasks are bad: they hold NaN or infinity, or diverge.

    A bad task is counted and left out of the meta-gradient: a few do no harm. Many bad tasks mean
    that the data, the weights or the inner loop are broken. Put this callback before `Checkpoints`
    in the list, so that such an epoch is not saved.

    Args:
        share: Largest tolerated share of invalid tasks; 1 disables the check. Defaults to `0.5`.
        steps: Number of meta-steps to average over, at most an epoch. Defaults to `10`.

    Raises:
        ValueError: From `fit`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.sinusoid("train").batch(16)
    learner.fit(tasks, steps_per_epoch=10, callbacks=[ki.callbacks.StopOnBadTasks(0.1)])
    ```
    """

    def __init__(self, share: float = 0.5, steps: int = 10) -> None:
        super().__init__()
        self.share = check_number("share", share, minimum=0.0)
        self.steps = check_integer("steps", steps, minimum=1)
        self._last: collections.deque[float] = collections.deque(maxlen=self.steps)
        self._sum = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Reset the counts."""
        self._last.clear()
        self._sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the share of bad tasks in the last steps."""
        # Keras logs the mean since the start of the epoch; a step is what it adds to the sum.
        total = float((logs or {}).get("bad_tasks", 0.0)) * (batch + 1)
        self._last.append(total - self._sum)
        self._sum = total
        if len(self._last) == self.steps:
            self._check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the last steps of an epoch, however few."""
        self._check()

    def _check(self) -> None:
        bad_share = sum(self._last) / max(len(self._last), 1)
        if bad_share > self.share + 1e-6:
            raise ValueError(
                f"Training has stopped at step {int(step_counter(self.model.optimizer))}: "
                f"{100 * bad_share:.0f} % of the tasks of the last {len(self._last)} steps hold "
                f"NaN or infinity, or diverge, more than {100 * self.share:.0f} %. "
                "Look at the inputs; "
                "lower the inner learning rate or raise `proximal_strength` if the inner loop "
                "diverges; lower the outer learning rate or clip the meta-gradient "
                "(`global_clipnorm`) if it went well before."
            )
