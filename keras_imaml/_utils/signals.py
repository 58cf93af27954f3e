"""Record a signal at once, and act on it between steps."""

import collections
import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from keras import tree

# The holders of each signal, the outermost first.
_holders: dict[int, list["HeldSignal"]] = collections.defaultdict(list)
_handlers: dict[int, Any] = {}  # the previous handlers


class HeldSignal:
    """Delay a signal until the end of the current step.

    Python may raise `KeyboardInterrupt` anywhere. Inside a step of TensorFlow the exception is
    sometimes lost, and sometimes the process aborts with damaged memory. Here the first signal is
    only recorded and reported on standard error. A second one calls the previous handler, if that
    is a Python function: Ctrl-C then interrupts at once.

    Outside of the main thread, where Python handles no signals, this does nothing. Ignored signals
    stay ignored. If several objects hold the same signal, each records it, and the outermost acts.

    Args:
        number: The signal.
        after: The work to wait for, as named in the message.

    Attributes:
        received: Whether the signal has come.

    Raises:
        ValueError: If `number` is not a signal that can be held.

    Example:

    ```python
    import signal
    from keras_imaml._utils.signals import HeldSignal

    with HeldSignal(signal.SIGINT, "this step") as interrupt:
        for step in range(3):
            interrupt.act()  # raises KeyboardInterrupt, if Ctrl-C was pressed
    ```
    """

    def __init__(self, number: int, after: str) -> None:
        unblockable = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
        if not isinstance(number, int) or number not in signal.valid_signals() - unblockable:
            raise ValueError(
                "Invalid value for `number`. Expected a signal that a program may handle, such as "
                f"signal.SIGTERM. Received: number={number!r}"
            )
        self.number = number
        self.after = after
        self.received = False

    def hold(self) -> None:
        """Install the handler."""
        self.received = False
        holders = _holders[self.number]
        if self in holders or not in_main_thread():
            return
        if not holders:
            if signal.getsignal(self.number) is signal.SIG_IGN:
                return
            _handlers[self.number] = signal.signal(self.number, _note)
        holders.append(self)

    def give_back(self) -> None:
        """Restore the previous handler."""
        holders = _holders[self.number]
        if self in holders:
            holders.remove(self)
            if not holders:
                _restore(self.number)

    def act(self) -> None:
        """Raise a pending signal again if this holder is the outermost."""
        holders = _holders[self.number]
        if self.received and holders and holders[0] is self:
            self.received = False
            _restore(self.number)
            signal.raise_signal(self.number)
            signal.signal(self.number, _note)  # its handler returned

    def __enter__(self) -> "HeldSignal":
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.act()  # it came after the last step
        finally:
            self.give_back()


def release_signals(callbacks: Any) -> None:
    """Let each callback that holds signals restore the handlers, even if `fit` failed."""
    for callback in tree.flatten(getattr(callbacks, "callbacks", callbacks)):
        release = getattr(callback, "release_signals", None)
        if release is not None:
            release()


def in_main_thread() -> bool:
    """Whether this thread is the one that acts on signals."""
    return threading.current_thread() is threading.main_thread()


def _restore(number: int) -> None:
    # None stands for a handler that was not installed from Python.
    signal.signal(number, _handlers[number] or signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> None:
    holders, handler = _holders[number], _handlers[number]
    interrupts = callable(handler)
    if any(holder.received for holder in holders):
        if interrupts:
            handler(number, frame)
        return
    for holder in holders:
        holder.received = True
    name = next((s.name for s in signal.Signals if s == number), f"signal {number}")
    text = (
        f"\n{name}: ending after {holders[-1].after}{'; again: at once' if interrupts else ''}.\n"
    )
    with contextlib.suppress(OSError):  # no standard error
        os.write(2, text.encode())  # not `print`, which may be what was interrupted
