"""result.json: what a run reached, with what, and how long it took."""

import dataclasses
import json
import math
import os
import platform
from typing import Any

import keras
import tensorflow as tf

import keras_imaml as ki
from trainers import parsing, run_folder
from trainers.settings import Machine, Settings


def write(
    path: str, settings: Settings, machine: Machine, evaluation: ki.Evaluation, **facts: Any
) -> None:
    """Write the evaluation, `facts` and the settings of the run as JSON, all at once."""
    versions = {
        "keras_imaml": ki.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }
    content = {
        **dataclasses.asdict(evaluation),
        **facts,
        "seed": settings.seed,
        "cores": machine.cores or available_cores(),
        "settings": run_folder.values(settings),
        "versions": versions,
    }
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(_without_nan(content), stream, indent=2)
        stream.write("\n")
    os.replace(partial, path)


def _without_nan(value: Any) -> Any:
    """The value with None in the place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def available_cores() -> int:
    """The cores that this process may use; macOS and Windows say how many there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def holds_more(
    path: str, settings: Settings, evaluation: ki.Evaluation, wall_seconds: float
) -> bool:
    """Whether there is a result with the same settings and weights from more tasks.

    The weights are the same if the seconds of their training are, to the last digit.
    """
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as stream:
        result = json.load(stream)
    of_result = run_folder.values(parsing.settings_of_values(result["settings"]))
    same = (result["wall_seconds"], of_result) == (wall_seconds, run_folder.values(settings))
    tasks = evaluation.tasks + evaluation.bad_tasks
    return same and result["tasks"] + result["bad_tasks"] > tasks
