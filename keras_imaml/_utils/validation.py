"""Checks of what users pass in: say what was expected, and what was received."""

import math
import os
import re
from collections.abc import Collection
from typing import Any


def check_integer(name: str, value: Any, minimum: int) -> int:
    """Return `value` if it is an integer of at least `minimum`; raise `ValueError` otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < minimum:
        raise ValueError(
            f"Invalid value for `{name}`. Expected an integer of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_number(
    name: str, value: Any, minimum: float = -math.inf, exclusive: bool = False, reason: str = ""
) -> float:
    """Return `value` if it is finite and at least (`exclusive`: above) `minimum`."""
    bound = f" {'above' if exclusive else 'at least'} {minimum:g}" if minimum > -math.inf else ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < minimum or (exclusive and number == minimum):
        raise ValueError(
            f"Invalid value for `{name}`. Expected a finite number{bound}.{reason} "
            f"Received: {name}={value!r}"
        )
    return number


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"Invalid value for `{name}`. Expected one of {sorted(choices)}. "
            f"Received: {name}={value!r}"
        )
    return str(value)


def check_folder_name(name: str, path: Any) -> str:
    """Return a path to write, `~` being the home folder, if TensorFlow finds it again.

    It looks for checkpoints and for the variables of a SavedModel by patterns of names.
    """
    folder = os.path.expanduser(os.fspath(path))
    if re.search(r"\[.+\]" if os.sep == "\\" else r"\[.+\]|\\", folder):
        raise ValueError(
            f"Invalid value for `{name}`. Expected a path without [...] and backslashes, which "
            "TensorFlow takes for a pattern and then does not find what it wrote; one from the "
            f"current folder is enough. Received: {name}={folder!r}"
        )
    return folder


def check_compiled(model: Any, method: str) -> None:
    """Refuse a method of a model that needs `compile`, by a `ValueError`."""
    if not model.compiled:
        raise ValueError(
            f"Expected `compile` before `{method}`: call learner.compile(loss=...) first. "
            f"Received: {model.name!r}, which is not compiled"
        )
