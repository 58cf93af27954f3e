"""From a command line to its settings in order: flag files are read, and all say name=value."""

import collections
import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Collection, Sequence

from absl import flags

COMMAND_LINE = "the command line"
PRESETS = pathlib.Path(__file__).parent / "presets"


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
    flags_read: list[Token] = []
    words = collections.deque(argv)
    while words:
        word = words.popleft()
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            flags_read.append(Token("", word, COMMAND_LINE))
        elif name == "flagfile":
            flags_read += of_file(value if equals or not words else words.popleft(), booleans)
        elif name == "preset":
            preset = value if equals or not words else words.popleft()
            flags_read += of_file(preset_file(preset), booleans)
        else:
            flags_read.append(_token(word, words, booleans, COMMAND_LINE))
    return flags_read


def of_file(path: str, booleans: Collection[str]) -> list[Token]:
    """The flags of a flag file, and of those that it names."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise ValueError(f"--flagfile={path}: no such file")
    lines = flags.FlagValues().read_flags_from_files([f"--flagfile={path}"])
    words = collections.deque(lines)
    flags_read = []
    while words:
        flags_read.append(_token(words.popleft(), words, booleans, path))
    return flags_read


def preset_file(name: str) -> str:
    """The flag file of a preset that comes with the trainers."""
    files = {
        path.relative_to(PRESETS).with_suffix("").as_posix(): path
        for path in sorted(PRESETS.rglob("*.flags"))
    }
    if name not in files:
        close = difflib.get_close_matches(name, files, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"--preset={name}: {meant}expected one of {', '.join(files)}")
    return str(files[name])


def _token(
    word: str, words: collections.deque[str], booleans: Collection[str], source: str
) -> Token:
    name, equals, value = word.lstrip("-").partition("=")
    if equals:
        return Token(name, value, source)
    if name in booleans:
        return Token(name, "true", source)
    if name.startswith("no") and name[2:] in booleans:
        return Token(name[2:], "false", source)
    if words and not re.match(r"-+[^\d.]", words[0]):  # a value, which may be a negative number
        return Token(name, words.popleft(), source)
    return Token(name, None, source)
