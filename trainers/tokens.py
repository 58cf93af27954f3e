"""From a command line to its settings in order: flag files are read, and all say name=value."""

import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence

from absl import flags

FLAG_FILES = ("flagfile", "flagfile=")
COMMAND_LINE = "the command line"


@dataclasses.dataclass(frozen=True)
class Token:
    """One flag.

    Attributes:
        name: Of the flag, without dashes; empty for a word that is no flag.
        value: What follows it; None if nothing does.
        source: The flag file, or `COMMAND_LINE`.
    """

    name: str
    value: str | None
    source: str

    def __str__(self) -> str:
        if not self.name:
            return self.value or ""
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"


def read(argv: Sequence[str], booleans: Collection[str]) -> list[Token]:
    """The flags of a command line and of the flag files in it, in order.

    Args:
        argv: The words of the command line, without the program.
        booleans: Names of flags that may stand without a value.
    """
    found: list[Token] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            found.append(Token("", word, COMMAND_LINE))
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name == "flagfile":
            found += of_file(value if equals else next(words, ""), booleans)
        else:
            found.append(_token(name, value if equals else None, words, booleans, COMMAND_LINE))
    return found


def of_file(path: str, booleans: Collection[str]) -> list[Token]:
    """The flags of a flag file, and of those that it names."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise ValueError(f"--flagfile={path}: no such file")
    lines = flags.FlagValues().read_flags_from_files([f"--flagfile={path}"])
    words = iter(lines)
    return [_token(*_parts(word), words, booleans, path) for word in words if word.startswith("-")]


def _parts(word: str) -> tuple[str, str | None]:
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else None


def _token(
    name: str,
    value: str | None,
    rest: Iterator[str],
    booleans: Collection[str],
    source: str,
) -> Token:
    if value is None and name in booleans:
        return Token(name, "true", source)
    if value is None and name.startswith("no") and name[2:] in booleans:
        return Token(name[2:], "false", source)
    if value is None:
        value = next(rest, None)
    return Token(name, value, source)
