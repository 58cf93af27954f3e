"""Inner solvers whose settings are inputs of a graph, so that one trace serves a whole sweep."""

import copy
from typing import Any


def with_settings(solver: Any, **settings: Any) -> Any:
    """A copy of a solver with tensors as settings, such as `steps`.

    Constructors ask for numbers, and rightly so: a benchmark alone measures a solver at fifty
    numbers of steps, and would otherwise trace it fifty times.
    """
    changed = copy.copy(solver)
    for name, value in settings.items():
        if not hasattr(solver, name):
            raise ValueError(f"{type(solver).__name__} has no setting {name!r}")
        object.__setattr__(changed, name, value)  # solvers are frozen
    return changed
