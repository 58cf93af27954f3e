"""Something of TensorFlow's replaced while a block runs, and put back whatever happens."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any


class Replacement(contextlib.ContextDecorator):
    """A context manager that puts `ours` in place of `stock`, and the last to leave puts it back.

    Blocks may be nested, and several threads may be inside at once.

    Args:
        put: Puts what it is given in the place.
        ours: What is there within a block.
        stock: What was there, and is again after the last block.
    """

    def __init__(self, put: Callable[[Any], Any], ours: Any, stock: Any) -> None:
        self._put = put
        self._ours = ours
        self._stock = stock
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            self._put(self._ours)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._put(self._stock)
