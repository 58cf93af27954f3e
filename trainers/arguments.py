"""From the signature of a constructor to its arguments: names, types, defaults and help."""

import collections.abc
import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

from absl import flags

_REQUIRED = inspect.Parameter.empty
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a constructor, or of an object that is its argument.

    Attributes:
        name: Its name; an argument of an argument has a dotted one, `learning_rate.per`.
        hint: Its type, as annotated.
        default: Its default, or `inspect.Parameter.empty`.
        help: What the docstring says of it.
    """

    name: str
    hint: Any
    default: Any
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether the constructor cannot do without it."""
        return self.default is _REQUIRED

    @property
    def is_bool(self) -> bool:
        """Whether a flag of it may stand without a value."""
        return self.hint is bool

    def parse(self, text: str) -> Any:
        """The value that `text` stands for."""
        return _parse(self.hint, text)

    def define(self, values: flags.FlagValues, prefix: str = "") -> None:
        """Define the flag of this argument; its value is None where the flag is not given."""
        name = prefix + self.name
        if self.is_bool:
            flags.DEFINE_bool(name, None, self.help, flag_values=values)
        else:
            parser = _Parser(argument=self)
            flags.DEFINE(parser, name, None, self.help, flag_values=values)


class _Parser(flags.ArgumentParser):
    """Parses the values of one argument, for absl."""

    def __init__(self, argument: Argument) -> None:
        self.argument = argument
        self.syntactic_help = _described(argument.hint)

    def parse(self, argument: str) -> Any:
        return self.argument.parse(argument)

    def flag_type(self) -> str:
        return self.syntactic_help


def as_text(value: Any) -> str:
    """A value as it stands behind a flag."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(as_text, value))
    return str(value)


def arguments_of(factory: Callable, hidden: Collection[str] = ()) -> dict[str, Argument]:
    """What can be set of the objects that `factory` makes, by name.

    Args:
        factory: A class or a function.
        hidden: Arguments that are given by others.
    """
    return {a.name: a for a in _arguments(factory) if a.name.partition(".")[0] not in hidden}


@functools.cache
def _arguments(factory: Callable) -> tuple[Argument, ...]:
    return tuple(_walk(factory))


def _walk(factory: Callable) -> Iterator[Argument]:
    described = _help(inspect.getdoc(factory) or "")
    for parameter in _parameters(factory):
        hint = parameter.annotation
        if hint is _REQUIRED:
            known = parameter.default is not _REQUIRED and parameter.default is not None
            hint = type(parameter.default) if known else Any
        if not _members(hint) - {type(None)}:
            continue  # an object, which has no text
        text = described.get(parameter.name, "")
        yield Argument(parameter.name, hint, parameter.default, text)
        for part in _objects(hint):
            _, *of_part = _arguments(part)
            for argument in of_part:  # None: a plain number does
                name = f"{parameter.name}.{argument.name}"
                yield dataclasses.replace(argument, name=name, default=None)


def called(factory: Callable, arguments: dict[str, Any], **given: Any) -> Any:
    """Call `factory` with arguments by their (dotted) names, and with what it takes of `given`."""
    values = {name: value for name, value in arguments.items() if "." not in name}
    for parameter in _parameters(factory):
        name = parameter.name
        if name in given and values.get(name) is None:
            values[name] = given[name]
        parts = {
            key.partition(".")[2]: value
            for key, value in arguments.items()
            if key.startswith(f"{name}.") and value is not None
        }
        if parts:
            (part,) = _objects(parameter.annotation)
            plain = values.get(name, parameter.default)
            # A word, such as `auto`, is no number to begin with: the object has a default.
            values[name] = part(**parts) if isinstance(plain, str) else part(plain, **parts)
    missing = [p.name for p in _parameters(factory) if p.default is _REQUIRED]
    missing = [name for name in missing if name not in values]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing, which {factory.__name__} needs")
    return factory(**values)


def takes(factory: Callable, name: str) -> bool:
    """Whether the factory has an argument of this name."""
    return any(parameter.name == name for parameter in _parameters(factory))


def _parameters(factory: Callable) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # annotations of names that exist for type checkers alone
        signature = inspect.signature(factory)
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p for p in signature.parameters.values() if p.kind not in variadic]


def _help(docstring: str) -> dict[str, str]:
    """What the section "Args:" says of each argument."""
    section = re.search(r"^Args:\n((?: .*\n?|\n)+)", docstring, re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^ {4}\**(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (str, type(None)) if hint is Any else (hint,)


def _members(hint: Any) -> set[Any]:
    """The types of a hint that can be written as text."""
    return {
        kind for kind in _alternatives(hint) if kind in (*_WORDS, type(None)) or _is_sequence(kind)
    }


def _is_sequence(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return origin in (list, tuple, collections.abc.Sequence)


def _objects(hint: Any) -> tuple[type, ...]:
    """The classes of a hint whose objects stand for a number that is more than that."""
    from keras_imaml.meta_parameters.positive import PositiveParameter

    return tuple(
        kind
        for kind in _alternatives(hint)
        if inspect.isclass(kind) and issubclass(kind, PositiveParameter)
    )


def _parse(hint: Any, text: str) -> Any:
    members = _members(hint)
    if type(None) in members and text.lower() == "none":
        return None
    for kind in (bool, int, float):
        if kind in members:
            try:
                return _TRUTH[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError):
                continue
    for kind in members:
        if _is_sequence(kind):
            elements = [e for e in typing.get_args(kind) if e is not ...] or [str]
            parts = [part.strip() for part in text.split(",")] if text.strip() else []
            return tuple(_parse(elements[0], part) for part in parts)
    if str in members:
        return text
    raise ValueError(f"expected {_described(hint)}")


def _described(hint: Any) -> str:
    """What may stand behind a flag, in words."""
    members = _members(hint)
    words = [word for kind, word in _WORDS.items() if kind in members]
    for kind in members:
        if _is_sequence(kind):
            words.append("values with commas between them")
    if type(None) in members:
        words.append("none")
    return " or ".join(words)
