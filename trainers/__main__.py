"""The command `keras-imaml`: every program by its name.

    keras-imaml train --preset=glyphs_5way_1shot --run_dir=runs/glyphs

`python -m trainers train ...` is the same, and so is `python -m trainers.train ...`.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

PROGRAMS = {
    "train": "Meta-train, evaluate on held-out tasks, and export.",
    "evaluate": "Evaluate a run on tasks of one split.",
    "adapt": "Adapt a run, or a learner of the package, to labeled images of your own.",
    "predict": "Classify images with an adapted model.",
    "export": "Export a run as a SavedModel that adapts.",
    "demo": "Open the web page on which a learner learns your drawings.",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program that the first word names.

    Args:
        argv: The command line. Defaults to `None`: that of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print("\n".join(_help()))
        return
    if name == "--version":
        from keras_imaml.version import __version__

        print(f"keras_imaml {__version__}")
        return
    if name not in PROGRAMS:
        close = difflib.get_close_matches(name, PROGRAMS, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        print(
            f"keras-imaml: no program {name!r}: {meant}expected one of {', '.join(PROGRAMS)}",
            file=sys.stderr,
        )
        raise SystemExit(2)
    importlib.import_module(f"trainers.{name}").main(words[1:])


def _help() -> list[str]:
    lines = ["usage: keras-imaml PROGRAM --flag=value ...", "", "programs:"]
    lines += [f"  {name:<10}{text}" for name, text in PROGRAMS.items()]
    return [
        *lines,
        "",
        "keras-imaml PROGRAM --help lists the flags of a program.",
        "python -m keras_imaml --learners lists the learners that come with the package.",
    ]


if __name__ == "__main__":
    main()
