"""What a run folder keeps of its flags: flags.txt. TensorFlow stays unloaded."""

import copy
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from trainers.command_line import define_shared, in_one_line, refuse

FLAGS = flags.FLAGS
# What a checkpoint is of, and where its weights began.
_OF_WEIGHTS = (
    "features",
    "model",
    "filters",
    "downsample",
    "channels",
    "classes",
    "tied_head",
    "learned_loss",
    "learn_inner_rate",
    "proximal_per",
    "learn_proximal_strength",
)


def with_flags_of_run(argv: Sequence[str]) -> list[str]:
    """A command line with the flags of `--run_dir`'s flags.txt under its own."""
    run_dir = _read(argv)["run_dir"]
    if not run_dir:
        return list(argv)  # which is refused
    file = os.path.join(run_dir, "flags.txt")
    if not os.path.isfile(file):
        refuse(f"--run_dir={run_dir} holds no flags.txt: expected the folder of a run")
    return [argv[0], *_lines_of(file), *argv[1:]]


def settings_of_run() -> dict[str, Any]:
    """The settings of the run itself, by name; refuse flags that would make another run of it."""
    file = os.path.join(FLAGS.run_dir, "flags.txt")
    read = _read(["", *_lines_of(file)])
    of_run = {name: read[name] for name in values()}
    changed = [name for name in _OF_WEIGHTS if FLAGS[name].value != of_run[name]]
    if changed:
        named = " ".join(f"--{name}={FLAGS[name].value}" for name in changed)
        refuse(
            f"{named}: {file} has {' '.join(f'--{name}={of_run[name]}' for name in changed)}, and "
            "weights that are trained cannot become others (how tasks are adapted to and what "
            "they are of can be another: --inner_steps, --shot, --transductive)"
        )
    return of_run


def _lines_of(file: str) -> list[str]:
    """The flags in a file of `keep_flags`; --flagfile would take the encoding of the locale."""
    with open(file, encoding="utf-8") as stream:
        return [line for line in stream.read().splitlines() if line]


def _run_flags() -> list[str]:
    from trainers.settings import RUN_FLAGS  # importing a trainer defines no flags

    return RUN_FLAGS


def _read(argv: Sequence[str]) -> dict[str, Any]:
    """The flags of a command line by name, whether or not they go together."""
    define_shared()
    apart = copy.deepcopy(FLAGS)
    for name in apart:
        apart[name].validators = []
        apart[name].unparse()
    try:
        apart(argv)
    except flags.Error as error:
        refuse(in_one_line(error))
    return apart.flag_values_dict()


def values() -> dict[str, Any]:
    """The flags that belong to a run, by name, but for the place of the data."""
    return {name: FLAGS[name].value for name in _run_flags() if name != "data_dir"}


def as_text() -> str:
    """The flags of a run, one a line."""
    return "\n".join(line for name in _run_flags() if (line := FLAGS[name].serialize()))


def table() -> dict[str, Any]:
    """The flags that belong to a run as booleans, numbers and strings, for TensorBoard."""
    plain = (bool, int, float, str)
    lists = {name: ",".join(v) for name, v in values().items() if isinstance(v, list)}
    return {name: v for name, v in values().items() if isinstance(v, plain)} | lists


def check_features() -> None:
    """Refuse `--features` of a run that is not done; a run that has begun needs them no more.

    Refuse what needs them, too.
    """
    folder = FLAGS.features
    done = folder is None or os.path.isfile(os.path.join(folder, "learner.keras"))
    if not (done or _is_trained()):
        refuse(f"--features must be the folder of a run that is done, not {folder}")
    if FLAGS.steps == 0 and folder is None:
        refuse("--steps=0 needs --features: without, there is nothing that was learned")
    if FLAGS.statistics == "training" and folder is None:
        refuse(
            "--statistics=training needs --features to train: statistics of layers that have "
            "learned nothing say nothing (trainers.evaluate takes it for any run of images)"
        )


def keep_flags(first: bool = True) -> None:
    """Write flags.txt, or refuse a run folder that was trained with other settings.

    A folder without a checkpoint is free, and the data may have moved.

    Args:
        first: Whether this is the worker that writes, the first of several.
    """
    file = os.path.join(FLAGS.run_dir, "flags.txt")
    if _is_trained() and os.path.isfile(file):
        with open(file, encoding="utf-8") as stream:
            theirs = stream.read().splitlines()
        _check_same(theirs)
        first &= FLAGS["data_dir"].serialize() not in ("", *theirs)
    if first:
        os.makedirs(FLAGS.run_dir, exist_ok=True)
        partial = f"{file}.partial"
        with open(partial, "w", encoding="utf-8") as stream:
            stream.write(as_text() + "\n")
        os.replace(partial, file)


def _is_trained() -> bool:
    """Whether the run has a checkpoint."""
    return os.path.isfile(os.path.join(FLAGS.run_dir, "checkpoints", "checkpoint"))


def _check_same(theirs: Sequence[str]) -> None:
    # Flags that are newer than the run were at their defaults when it was made.
    known = {_name_of(line) for line in theirs}
    newer = {name for name in _run_flags() if name not in known and FLAGS[name].using_default_value}
    ours = set(as_text().splitlines())
    free = newer | {"data_dir"}
    changed = sorted(line for line in ours ^ set(theirs) if _name_of(line) not in free)
    if changed:
        refuse(
            f"--run_dir={FLAGS.run_dir} is of a run with other settings (they differ in "
            f"{' '.join(changed)}): use another folder, or the settings in its flags.txt"
        )


def _name_of(line: str) -> str:
    name = line.removeprefix("--").partition("=")[0]
    return name if name in _run_flags() else name.removeprefix("no")
