"""A progress bar shown only if the work takes longer than `DELAY_SECONDS`."""

import sys
import time
from typing import Any

import keras

DELAY_SECONDS = 2.0
"""Seconds of work before a bar appears."""


class WaitingBar:
    """Keras' progress bar, shown on a terminal once the work takes longer than a moment.

    Args:
        total: Number of units of work.
        title: Of the work, printed above the bar.
        unit_name: Name of a unit.
        verbose: `"auto"`: as above. `1` or `True`: a bar from the start, also without a terminal.
            `0` or `False`: no bar. Defaults to `"auto"`.

    Example:

    ```python
    from keras_imaml._utils.progress_bar import WaitingBar

    bar = WaitingBar(5, "Decoding images", unit_name="image")
    for done in range(1, 6):
        bar.update(done)
    ```
    """

    def __init__(
        self, total: int, title: str, unit_name: str = "step", verbose: str | int = "auto"
    ) -> None:
        if verbose != "auto" and verbose not in (0, 1):
            raise ValueError(
                "Invalid value for `verbose`. Expected 'auto', 0 or 1. "
                f"Received: verbose={verbose!r}"
            )
        self.total = total
        self.title = title
        self.unit_name = unit_name
        self._waits = verbose == "auto"
        self._shows = bool(verbose) and (not self._waits or _on_terminal())
        self._since = time.monotonic()
        self._bar: Any = None

    def update(self, done: int) -> None:
        """Show the number of units done; the bar ends at `total`."""
        if not self._shows:
            return
        if self._bar is None:
            if self._waits and time.monotonic() - self._since < DELAY_SECONDS:
                return
            if self._waits:
                print(self.title)
            self._bar = keras.utils.Progbar(self.total, unit_name=self.unit_name)
        self._bar.update(done)


def _on_terminal() -> bool:
    return sys.stdout.isatty()
