"""From a command line to `main`: wrong flags and errors end a program with one line.

Nothing is defined at import: the flags are those of the components that a command line chooses.
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from absl import flags, logging

if TYPE_CHECKING:
    from trainers.settings import Machine, Settings

# TensorFlow finds what it wrote by patterns of names, in which these mean something else.
_PATTERN = re.compile(r"\[.+\]" if os.sep == "\\" else r"\[.+\]|\\")


@dataclasses.dataclass(frozen=True)
class Program:
    """A trainer.

    Attributes:
        function: What it runs; its arguments are its flags, but for `settings`, `run_dir` and
            `machine`.
        group: Where `--help` shows those flags.
        of_run: Whether the flags of `--run_dir`'s flags.txt lie under those of the command line.
    """

    function: Callable
    group: str = "evaluation"
    of_run: bool = True

    @property
    def name(self) -> str:
        """Of its module."""
        return os.path.basename(self.function.__code__.co_filename)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line that was read.

    Attributes:
        settings: Of the run.
        machine: What it is computed on.
        run_dir: Folder of the run.
        arguments: Of the program's function.
        notes: What the user is told before it begins, a line each.
        debug: Whether to show the whole traceback of an error.
    """

    settings: "Settings"
    machine: "Machine"
    run_dir: str
    arguments: dict[str, Any]
    notes: tuple[str, ...] = ()
    debug: bool = False


def run(program: Program, argv: Sequence[str] | None = None) -> None:
    """Read the command line and run the program; report what goes wrong in one line.

    Args:
        program: The program.
        argv: The command line. Defaults to that of this process.
    """
    argv = sys.argv[1:] if argv is None else argv
    debug = bool({"--debug", "--debug=true"} & set(argv))  # of errors in the flags, too
    with errors_in_one_line(program.name, debug):
        from trainers import help_text, parsing

        if help_text.asked(argv):
            print(help_text.text(program, argv))
            return
        command = parsing.parse(program, argv)
        for note in command.notes:
            print(f"{program.name}: {note}", file=sys.stderr)
        program.function(
            command.settings, command.run_dir, machine=command.machine, **command.arguments
        )


@contextlib.contextmanager
def errors_in_one_line(name: str, debug: bool) -> Iterator[None]:
    """End the program `name` with one line where something goes wrong; debugging, show it all."""
    logging.set_verbosity(logging.WARNING)
    # An error is an exception and ends in one line; see also `keras_imaml._compat.quiet`.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    except KeyboardInterrupt as stopped:
        if debug:
            raise
        advice = ". The same command starts again, or resumes from a checkpoint."
        print(f"\nInterrupted{str(stopped) or advice}")
        raise SystemExit(130) from None
    except Exception as error:
        if debug or not isinstance(
            error, (ValueError, OSError, ImportError, flags.Error, *_of_tensorflow())
        ):
            raise
        print(f"{name}: {in_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the settings; a program ends with that line and exit status 2."""
    raise ValueError(message)


def in_one_line(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())


def refuse_undecoded(argv: Sequence[str]) -> None:
    """Refuse arguments that Python could not decode: it puts surrogates for such letters."""
    strange = [
        ascii(argument)
        for argument in argv
        if any("\ud800" <= letter <= "\udfff" for letter in argument)
    ]
    if strange:
        refuse(
            f"{' '.join(strange)}: Python cannot read these letters in the encoding of the locale; "
            "set PYTHONUTF8=1, or a locale such as C.UTF-8"
        )


def check_folder(flag: str, path: str) -> None:
    """Refuse a folder to write that is a file, would lie in one, or that is a pattern of names."""
    if _PATTERN.search(path):
        refuse(
            f"--{flag}={path}: TensorFlow takes [...] and \\ in the name of a folder for a pattern "
            "and would not find what it wrote; expected a name without them (a path from the "
            "current folder is enough)"
        )
    place = _existing(path)
    if not os.path.isdir(place):
        refuse(f"--{flag}={path}: {place} is a file, expected a folder or a free name")


def check_file(flag: str, path: str) -> None:
    """Refuse a file to write that is a folder, or would lie in a file."""
    if os.path.isdir(path):
        refuse(f"--{flag}={path} is a folder, expected the name of a file")
    place = _existing(os.path.dirname(os.path.abspath(path)))
    if not os.path.isdir(place):
        refuse(f"--{flag}={path}: {place} is a file, expected a folder")


def _existing(path: str) -> str:
    """The path itself, or the nearest one above that exists."""
    place = os.path.abspath(path)
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    return place


def _of_tensorflow() -> tuple[type[Exception], ...]:
    """What its kernels and file systems raise, if it is loaded."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.OpError,) if tensorflow else ()
