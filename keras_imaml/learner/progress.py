"""A progress bar that leaves the diagnostics to TensorBoard and the history."""

from collections.abc import Collection
from typing import Any

import keras


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar without the logs that are named.

    `MetaLearner.fit` uses it, so that the bar shows the loss and the metrics and fits the line.

    Args:
        hidden: Names of logs to leave out; one that starts with `val_` hides with the rest.
        verbose: `1`: a bar; `2`: a line per epoch. Defaults to `1`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.sinusoid("train").batch(16)
    bar = ki.callbacks.Progress({"inner_residual"})
    learner.fit(tasks, steps_per_epoch=10, verbose=0, callbacks=[bar])
    ```
    """

    def __init__(self, hidden: Collection[str], verbose: int = 1) -> None:
        super().__init__()
        self.hidden = frozenset(hidden)
        self._level = verbose

    def set_params(self, params: dict[str, Any]) -> None:
        """Keep this bar's own `verbose`: the one that `fit` was called with is 0."""
        super().set_params({**params, "verbose": self._level})

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the logs that are not hidden."""
        super().on_train_batch_end(batch, self._shown(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the logs that are not hidden; after an epoch that was cut short, how far it came."""
        steps, target = getattr(self, "seen", 0), getattr(self, "target", None)
        bar = getattr(self, "progbar", None)
        if bar is not None and target is not None and 0 < steps < target:
            bar.update(steps, list(self._shown(logs).items()), finalize=True)
        else:
            super().on_epoch_end(epoch, self._shown(logs))

    def _shown(self, logs: dict[str, Any] | None) -> dict[str, Any]:
        return {
            name: value
            for name, value in (logs or {}).items()
            if name.removeprefix("val_") not in self.hidden
        }
