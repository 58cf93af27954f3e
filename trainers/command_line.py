"""From a command line to `main`: wrong flags and errors end a program with one line."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

FLAGS = flags.FLAGS


Arguments = Callable[[Sequence[str]], Sequence[str]]
# TensorFlow finds what it wrote by patterns of names, in which these mean something else.
_OF_PATTERNS = re.compile(r"\[.+\]" if os.sep == "\\" else r"\[.+\]|\\")


def run(
    main: Callable[[Sequence[str]], None],
    required: Sequence[str] = ("run_dir",),
    arguments: Arguments = list,
    define: Callable[[], None] = lambda: None,
) -> None:
    """Parse the flags and call `main`; refuse wrong flags, and report errors, in one line.

    Args:
        main: The program.
        required: Flags that it cannot do without.
        arguments: What is parsed in place of the command line: those of a run and the line's own.
        define: Defines the flags of the program itself. Importing a program defines nothing.
    """
    logging.set_verbosity(logging.WARNING)
    # An error is an exception and ends in one line; see also `keras_imaml._compat.quiet`.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    define()
    define_shared()
    for flag in FLAGS.get_key_flags_for_module("trainers.settings"):
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # --help shows them
    # Sorted out before TensorFlow is imported, which takes seconds.
    app.run(_reporting(main), flags_parser=lambda argv: parse(argv, required, arguments))


def define_shared() -> None:
    """Define the flags that the trainers share, and which of them go together."""
    importlib.import_module("trainers.settings")
    importlib.import_module("trainers.rules")


def refuse(message: str) -> None:
    """Stop with one line on standard error and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def in_one_line(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())


def check_folder(flag: str) -> None:
    """Refuse a folder to write that is a file, or would lie in one."""
    path = getattr(FLAGS, flag)
    if _OF_PATTERNS.search(path):
        refuse(
            f"--{flag}={path}: TensorFlow takes [...] and \\ in the name of a folder for a pattern "
            "and would not find what it wrote; expected a name without them (a path from the "
            "current folder is enough)"
        )
    place = _existing(path)
    if not os.path.isdir(place):
        refuse(f"--{flag}={path}: {place} is a file, expected a folder or a free name")


def check_file(flag: str) -> None:
    """Refuse a file to write that is a folder, or would lie in a file."""
    path = getattr(FLAGS, flag)
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


def parse(argv: Sequence[str], required: Sequence[str], arguments: Arguments = list) -> list[str]:
    """Set the flags, or refuse them."""
    define_shared()
    strange = [ascii(argument) for argument in argv if not _is_text(argument)]
    if strange:
        refuse(
            f"{' '.join(strange)}: Python cannot read these letters in the encoding of the locale; "
            "set PYTHONUTF8=1, or a locale such as C.UTF-8"
        )
    given = arguments(argv)
    try:
        rest = FLAGS(given)
    except flags.Error as error:
        of_run = "" if len(given) == len(argv) else " (with those in flags.txt of the run)"
        refuse(in_one_line(error) + of_run)
    if FLAGS.is_parsed() and len(rest) > 1:
        refuse(f"unexpected arguments {rest[1:]}: every setting is a --flag=value")
    for name in required:
        if not getattr(FLAGS, name):
            refuse(f"--{name} is missing")
    check_folder("run_dir")
    return list(argv)


def _is_text(argument: str) -> bool:
    """Whether Python could decode an argument: it puts surrogates for what it could not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)


def _reporting(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    def guarded(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except KeyboardInterrupt:
            if FLAGS.debug:
                raise
            print("\nInterrupted. The same command starts again, or goes on from a checkpoint.")
            raise SystemExit(130) from None
        except Exception as error:
            if FLAGS.debug or not isinstance(error, (ValueError, OSError, *_of_tensorflow())):
                raise
            refuse(in_one_line(error))

    return guarded


def _of_tensorflow() -> tuple[type[Exception], ...]:
    """What its kernels and file systems raise, if it is loaded."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.OpError,) if tensorflow else ()
