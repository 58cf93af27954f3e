"""What a run folder keeps of its settings: flags.txt."""

import os
from collections.abc import Mapping
from typing import Any

from trainers.arguments import as_text
from trainers.command_line import refuse
from trainers.parsing import settings_of_file
from trainers.settings import Settings

# What a checkpoint is of, and where its weights began. Of a model all arguments but these.
_OF_WEIGHTS = (
    "features",
    "learned_loss",
    "data.channels",
    "inner.learning_rate.per",
    "inner.learning_rate.learned",
    "algorithm.proximal_strength.per",
    "algorithm.proximal_strength.learned",
)
_NOT_OF_WEIGHTS = ("model.cosine", "model.centered", "model.fixed_statistics", "model.dtype")


def settings_of_run(settings: Settings, run_dir: str) -> Settings:
    """The settings of the run itself; refuse such as would make another run of it."""
    file = os.path.join(run_dir, "flags.txt")
    of_run = settings_of_file(file)
    asked, trained = settings.values(), of_run.values()
    names = [name for name in {**trained, **asked} if name.partition(".")[0] == "model"]
    names = [*_OF_WEIGHTS, *(name for name in names if name not in _NOT_OF_WEIGHTS)]
    changed = [name for name in names if asked.get(name) != trained.get(name)]
    if changed:
        refuse(
            f"{_flags(changed, asked)}: {file} has {_flags(changed, trained)}, and weights that "
            "are trained cannot become others (how tasks are adapted to and what they are of can "
            "be another: --inner.steps, --data.shot, --transductive)"
        )
    return of_run


def values(settings: Settings) -> dict[str, Any]:
    """The settings of a run by name, but for the place of the data, as JSON has them."""
    by_name = settings.values()
    by_name.pop("data_dir")
    return {name: list(v) if isinstance(v, tuple) else v for name, v in by_name.items()}


def as_flags(settings: Settings) -> str:
    """The settings as flags, one a line."""
    given = {name: value for name, value in settings.values().items() if value is not None}
    return "\n".join(f"--{name}={as_text(value)}" for name, value in given.items())


def table(settings: Settings) -> dict[str, Any]:
    """The settings as booleans, numbers and strings, for TensorBoard."""
    plain = (bool, int, float, str)
    known = {name: value for name, value in values(settings).items() if value is not None}
    return {name: v if isinstance(v, plain) else as_text(v) for name, v in known.items()}


def check_features(settings: Settings, run_dir: str, steps: int) -> None:
    """Refuse `features` of a run that is not done; a run that has begun needs them no more.

    Refuse what needs them, too.
    """
    folder = settings.features
    done = folder is None or os.path.isfile(os.path.join(folder, "learner.keras"))
    if not (done or _is_trained(run_dir)):
        refuse(f"--features must be the folder of a run that is done, not {folder}")
    if steps == 0 and folder is None:
        refuse("--steps=0 needs --features: without, there is nothing that was learned")
    if settings["model.fixed_statistics"] and folder is None:
        refuse(
            "--model.fixed_statistics needs --features to train: statistics of layers that have "
            "learned nothing say nothing (trainers.evaluate takes it for any run of images)"
        )


def keep_flags(settings: Settings, run_dir: str, first: bool = True) -> None:
    """Write flags.txt, or refuse a run folder that was trained with other settings.

    A folder without a checkpoint is free, and the data may have moved.

    Args:
        settings: Of this run.
        run_dir: Its folder.
        first: Whether this is the worker that writes, the first of several.
    """
    file = os.path.join(run_dir, "flags.txt")
    if _is_trained(run_dir) and os.path.isfile(file):
        of_folder = settings_of_file(file)
        _check_same(settings, of_folder, run_dir)
        first &= settings.data_dir not in (None, of_folder.data_dir)
    if first:
        os.makedirs(run_dir, exist_ok=True)
        partial = f"{file}.partial"
        with open(partial, "w", encoding="utf-8") as stream:
            stream.write(as_flags(settings) + "\n")
        os.replace(partial, file)


def _is_trained(run_dir: str) -> bool:
    """Whether the run has a checkpoint."""
    return os.path.isfile(os.path.join(run_dir, "checkpoints", "checkpoint"))


def _check_same(settings: Settings, of_folder: Settings, run_dir: str) -> None:
    asked, kept = values(settings), values(of_folder)
    changed = [name for name in {**kept, **asked} if asked.get(name) != kept.get(name)]
    # Of a component that is another one, the arguments say nothing more.
    changed = [n for n in changed if "." not in n or n.partition(".")[0] not in changed]
    if changed:
        refuse(
            f"--run_dir={run_dir} is of a run with other settings: it has {_flags(changed, kept)}, "
            f"and here are {_flags(changed, asked)}. Use another folder, or the settings in its "
            "flags.txt"
        )


def _flags(names: list[str], settings: Mapping[str, Any]) -> str:
    return " ".join(f"--{name}={as_text(settings.get(name))}" for name in names)
