"""The time of every meta-step of `fit`."""

import time

import keras


class StepTimes(keras.callbacks.Callback):
    """Note the time from the end of one meta-step to the end of the next.

    Attributes:
        seconds: One number a step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._since = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Note it."""
        end = time.perf_counter()
        self.seconds.append(end - self._since)
        self._since = end
