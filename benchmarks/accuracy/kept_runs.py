"""The runs that `benchmarks.accuracy.keep_run` has kept, for tables and plots."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from trainers import parsing

from benchmarks.accuracy import result_files
from benchmarks.accuracy.keep_run import FEATURES


class Kept(NamedTuple):
    """An evaluation of a run on test classes.

    Attributes:
        recipe: Name of the recipe.
        record: The content of the result file; `settings` are complete, and `core_hours` are those
            of the training and of the runs that it began with.
        changed: The settings in which the evaluation differs from the training.
    """

    recipe: str
    record: dict[str, Any]
    changed: set[str]


def folders(runs: pathlib.Path) -> list[pathlib.Path]:
    """A folder for each recipe and seed."""
    return sorted(path.parent for path in runs.glob("*/*/flags.txt"))


def settings_of(run: pathlib.Path) -> dict[str, Any]:
    """All settings of a training, by their present names."""
    return parsing.settings_of_values(result_files.read(run / "result.json")["settings"]).values()


def evaluations(runs: pathlib.Path) -> Iterator[Kept]:
    """All evaluations of all runs."""
    for run in folders(runs):
        result = result_files.read(run / "result.json")
        trained = parsing.settings_of_values(result["settings"])
        parts = [result, *map(result_files.read, run.glob(FEATURES.format("*")))]
        hours = sum(part["wall_seconds"] * part["cores"] for part in parts) / 3600
        for file in sorted(run.glob("evaluation_test*.json")):
            record = result_files.read(file)
            settings = parsing.settings_of_values(record["settings"])
            record = {**record, "settings": settings.values(), "core_hours": hours}
            yield Kept(run.parent.name, record, set(settings.changes_from(trained)))


def has_automatic_rate(record: dict[str, Any]) -> bool:
    """Whether the inner solver of an evaluation measured its own learning rate."""
    return record["settings"].get("inner.learning_rate") == "auto"


def mode(record: dict[str, Any]) -> str:
    """How query sets are seen in an evaluation, in words."""
    settings = record["settings"]
    words = ["transductive" if record["transductive"] else "non-transductive"]
    if settings.get("model.fixed_statistics"):
        words.append("training statistics")
    if has_automatic_rate(record):
        words.append("automatic inner rate")
    if settings["wrapper"] == "self_training":
        words.append("self-training" + ", balanced" * settings["wrapper.balanced"])
    return ", ".join(words)
