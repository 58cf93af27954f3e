"""A signal ends training after the current meta-step, with a checkpoint."""

import signal
from types import FrameType
from typing import Any

import keras

from keras_imaml.distribution.workers import Workers


class StopOnSignal(keras.callbacks.Callback):
    """Stop `fit` after the current meta-step when the process is asked to terminate.

    Preemptible machines and cluster managers send SIGTERM some time before they take the machine
    away. `fit` then ends in order, so that `Checkpoints` writes what was learned. Of several
    workers all stop after the same meta-step, whichever of them is asked. Outside of `fit` the
    signal does what it did before.

    Args:
        number: The signal. Defaults to `signal.SIGTERM`.

    Attributes:
        received: Whether the signal has come, to any worker.

    Example:

    ```python
    import sys

    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.sinusoid("train").batch(16)
    checkpoints = ki.callbacks.Checkpoints(learner, "runs/mine/checkpoints")
    stop = ki.callbacks.StopOnSignal()
    learner.fit(tasks, steps_per_epoch=10, callbacks=[checkpoints, stop])
    if stop.received:
        sys.exit(0)
    ```
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number
        self.received = False
        self._before: Any = None
        self._workers: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Listen to the signal."""
        self.received = False
        self._workers = Workers(self.model.distribute_strategy)
        before = signal.signal(self.number, self._note)
        if before != self._note:  # a `fit` that ended with an error did not come to its end
            self._before = before

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop, if it has come."""
        if self._workers.any(self.received):
            self.received = self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop a validation too."""
        if self._workers.any(self.received):
            self.received = self.model.stop_evaluating = self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Listen no more."""
        signal.signal(self.number, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True
