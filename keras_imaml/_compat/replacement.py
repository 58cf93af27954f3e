"""Something of TensorFlow's replaced while a block runs, and put back whatever happens."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Replacement(contextlib.ContextDecorator):
    """A context manager that puts `patched` in place of `stock`; the last to leave puts it back.

    Blocks may be nested, and several threads may be inside at once.

    Args:
        put: Puts what it is given in the place.
        patched: What is there within a block.
        stock: What was there, and is again after the last block; None where this version of
            TensorFlow or Keras has no such place: a block then changes nothing.
    """

    def __init__(self, put: Callable[[Any], Any], patched: Any, stock: Any) -> None:
        self._put = put
        self._ours = patched
        self._stock = stock
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._stock is not None:
                self._put(self._ours)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._stock is not None:
                self._put(self._stock)


class CallsNoted:
    """Collects notes of the calls of a function of TensorFlow, for the thread that asks.

    Args:
        put: Puts what it is given in the place of the function.
        stock: The function; None where this version of TensorFlow has none: nothing is noted.
        describe: Makes a note of the arguments of a call, or None.
    """

    def __init__(self, put: Callable[[Any], Any], stock: Any, describe: Callable[..., Any]) -> None:
        self._stock = stock
        self._describe = describe
        self._context = threading.local()
        self._replaced = Replacement(put, self._noting, stock)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[list[Any]]:
        """A block, and the notes of the calls within it."""
        noted: list[Any] = []
        if self._stock is None:
            yield noted
            return
        outer = getattr(self._context, "noted", None)
        self._context.noted = noted
        try:
            with self._replaced:
                yield noted
        finally:
            self._context.noted = outer

    def _noting(self, *args: Any, **kwargs: Any) -> Any:
        noted = getattr(self._context, "noted", None)
        if noted is not None:
            note = self._describe(*args, **kwargs)
            if note is not None:
                noted.append(note)
        return self._stock(*args, **kwargs)
