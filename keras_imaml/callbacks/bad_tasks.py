"""Training ends where too many tasks go wrong."""

import collections
from typing import Any

import keras

from keras_imaml._utils.validation import check_integer, check_number


class StopOnBadTasks(keras.callbacks.Callback):
    """Stop `fit` with advice when too many tasks are bad: they hold NaN or infinity, or diverge.

    A bad task is left out of the meta-gradient and counted: a few do no harm. Many of them mean
    that data, weights or the inner loop are broken, and training on would only take time. Put it
    before `Checkpoints` in the list of callbacks: an epoch that ends so is then not saved.

    Args:
        share: The largest share of bad tasks that is put up with; 1 for any. Defaults to `0.5`.
        steps: Over how many meta-steps, or over the last epoch if it has fewer. Defaults to `10`.

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
        """Start to count anew."""
        self._last.clear()
        self._sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the share of bad tasks in the last steps."""
        # Keras logs the mean since the start of the epoch; a step is what it adds to the sum.
        whole = float((logs or {}).get("bad_tasks", 0.0)) * (batch + 1)
        self._last.append(whole - self._sum)
        self._sum = whole
        if len(self._last) == self.steps:
            self._check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the last steps of an epoch, however few."""
        self._check()

    def _check(self) -> None:
        bad = sum(self._last) / max(len(self._last), 1)
        if bad > self.share + 1e-6:
            raise ValueError(
                f"Training has stopped at step {int(self.model.optimizer.iterations)}: "
                f"{100 * bad:.0f} % of the tasks of the last {len(self._last)} steps hold NaN or "
                f"infinity, or diverge, more than {100 * self.share:.0f} %. Look at the inputs; "
                "lower the inner learning rate or raise `proximal_strength` if the inner loop "
                "diverges; lower the outer learning rate or clip the meta-gradient "
                "(`global_clipnorm`) if it went well before."
            )
