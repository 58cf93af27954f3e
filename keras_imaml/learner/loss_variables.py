"""Variables of the inner loss: the outer level learns them, and files hold them."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras


class LossVariables(keras.layers.Layer):
    """Holds the variables of `inner_loss` for the learner, as Keras tracks none of a loss.

    Args:
        variables: The variables.
    """

    def __init__(self, variables: list[keras.Variable]) -> None:
        super().__init__(name="loss_variables")
        self.held = variables
        self.built = True


def variables_of(loss: Any) -> list[keras.Variable]:
    """The Keras variables that a loss holds, in the order of its attributes, each once.

    Args:
        loss: What `compile` was given. Looked through are the attributes of an object, the layers
            among them, and what a function closes over or takes from its module.
    """
    by_id: dict[int, keras.Variable] = {}
    for part in keras.tree.flatten(loss):
        for variable in _held(part, set(), depth=3):
            by_id.setdefault(id(variable), variable)
    return list(by_id.values())


def _held(part: Any, visited: set[int], depth: int) -> Iterator[keras.Variable]:
    if isinstance(part, keras.Variable):
        yield part
        return
    if (
        part is None
        or isinstance(part, (str, bytes, int, float, bool, type))
        or id(part) in visited
    ):
        return
    visited.add(id(part))
    for inside in _inside(part) if depth else ():
        yield from _held(inside, visited, depth - 1)


def _inside(part: Any) -> list[Any]:
    """What may hold variables within an object that is none."""
    if isinstance(part, keras.layers.Layer):
        return list(part.variables)
    if isinstance(part, Mapping):
        return list(part.values())
    if isinstance(part, (list, tuple)):
        return list(part)
    if isinstance(part, functools.partial):
        return [part.func, *part.args, *part.keywords.values()]
    if inspect.ismethod(part):
        return [part.__self__, part.__func__]
    if inspect.isfunction(part):
        return _named_in(part)
    return list(getattr(part, "__dict__", {}).values())


def _named_in(function: Any) -> list[Any]:
    """What a function closes over, and the variables and layers that it names in its module."""
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a cell that holds nothing yet
        return []
    kinds = (keras.Variable, keras.layers.Layer)
    of_module = [value for value in names.globals.values() if isinstance(value, kinds)]
    return [*names.nonlocals.values(), *of_module]
