"""result.json: what a run reached, with what, and how long it took."""

import dataclasses
import json
import os
import platform
from typing import Any

import keras
import tensorflow as tf
from absl import flags

import keras_imaml as ki
from trainers import run_folder

FLAGS = flags.FLAGS


def write(path: str, evaluation: ki.Evaluation, **facts: Any) -> None:
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
        "seed": FLAGS.seed,
        "cores": FLAGS.cores or available_cores(),
        "settings": run_folder.values(),
        "versions": versions,
    }
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
    os.replace(partial, path)


def available_cores() -> int:
    """The cores that this process may use; macOS and Windows say how many there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def holds_more(path: str, evaluation: ki.Evaluation, wall_seconds: float) -> bool:
    """Whether there is a result with the same settings and weights from more tasks.

    The weights are the same if the seconds of their training are, to the last digit.
    """
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as stream:
        there = json.load(stream)
    same = (there["wall_seconds"], there["settings"]) == (wall_seconds, run_folder.values())
    tasks = evaluation.tasks + evaluation.bad_tasks
    return same and there["tasks"] + there["bad_tasks"] > tasks
