"""A signal ends training after the current meta-step, with a checkpoint."""

import signal
import threading
from typing import Any

import keras

from keras_imaml._utils.signals import HeldSignal, in_main_thread
from keras_imaml.distribution.workers import Workers


class StopOnSignal(keras.callbacks.Callback):
    """Stop `fit` after the current meta-step when the process is asked to terminate.

    Preemptible machines and cluster managers send SIGTERM some time before they take the machine
    away. `fit` then ends in order, so that `Checkpoints` writes what was learned. Of several
    workers all stop after the same meta-step, whichever of them is asked. A second Ctrl-C
    interrupts at once. Outside of `fit`, and for a signal that is ignored, nothing changes.

    Args:
        *numbers: The signals; `signal.SIGINT` is Ctrl-C. Defaults to `signal.SIGTERM`.

    Attributes:
        received: Whether one has come, to any worker.
        number: The one that came to this worker; `None` if none has.

    Raises:
        ValueError: If a number is not a signal that can be handled; in `fit`, if it runs in another
            thread than the main one, and `hold` was not called before.

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

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.received = False
        self._signals = [HeldSignal(n, "this meta-step") for n in numbers or (signal.SIGTERM,)]
        self._workers: Any = None
        self._held = False  # by `hold`, before `fit`

    @property
    def number(self) -> int | None:
        """The signal that came to this worker."""
        return next(
            (held_signal.number for held_signal in self._signals if held_signal.received), None
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Install the handlers."""
        if not in_main_thread() and not self._held:
            raise ValueError(
                "Invalid value for `callbacks`. Expected `fit` in the main thread, which alone can "
                "handle signals, or `stop = StopOnSignal(); stop.hold()` in the main thread before "
                "the other one starts, and `stop.release_signals()` after it. Received: "
                f"StopOnSignal in the thread {threading.current_thread().name!r}"
            )
        self._workers = Workers(self.model.distribute_strategy)
        if not self._held:
            self.received = False
            self._install()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if a signal has come to any worker."""
        if self._workers.any(self.number is not None):
            self.received = self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop a validation as well."""
        if self._workers.any(self.number is not None):
            self.received = self.model.stop_evaluating = self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the handlers; a signal after the last step still counts."""
        if self._workers.any(self.number is not None):
            self.received = self.model.stop_training = True
        self.release_signals()

    def hold(self) -> None:
        """Install the handlers before `fit`, which then may run in another thread.

        They stay until `release_signals` is called in the main thread.
        """
        if not in_main_thread():
            raise ValueError(
                "`StopOnSignal.hold` works in the main thread alone, since Python handles signals "
                f"there. Received: the thread {threading.current_thread().name!r}"
            )
        self.received = False
        self._install()
        self._held = True

    def release_signals(self) -> None:
        """Restore the previous handlers; the learner calls it even if `fit` fails."""
        if not in_main_thread():
            return  # they were installed by `hold`, and Python restores them there alone
        self._held = False
        for held_signal in self._signals:
            held_signal.give_back()

    def _install(self) -> None:
        for held_signal in self._signals:
            held_signal.hold()
