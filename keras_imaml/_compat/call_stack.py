"""Room for the calls that build a graph, taken once.

CPython keeps the frames of calls in chunks of 16 KiB. It returns a chunk to the system as soon as
the last frame in it ends. A call that happens to begin a chunk asks the system for one each time,
and building a graph takes much longer at such a depth of the stack. A frame that asks for much room
begins a large chunk, and the calls within it share that chunk.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# CPython doubles the size of a chunk until the frame fits: 256 KiB of 512 are left for the calls.
# The system maps only what is written to.
_WORDS = 2**15


def with_room(function: F) -> F:
    """The function, with a chunk of its own for the frames of what it calls."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return _call(function, *arguments, **named)

    return cast(F, call)


def _call(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)


_call.__code__ = _call.__code__.replace(co_stacksize=_WORDS)
