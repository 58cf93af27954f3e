"""The result files of runs."""

import csv
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


def read(path: pathlib.Path) -> dict[str, Any]:
    """A result file."""
    return json.loads(path.read_text(encoding="utf-8"))


def learning_curve(path: pathlib.Path) -> dict[int, float]:
    """The accuracy after each number of meta-steps."""
    with open(path, encoding="utf-8", newline="") as stream:
        return {int(row["steps"]): float(row["accuracy"]) for row in csv.DictReader(stream)}


def over_seeds(records: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The mean accuracy of runs, and half its 95 % interval over all their tasks, in percent."""
    mean = sum(record["accuracy"] for record in records) / len(records)
    half = math.sqrt(sum(record["ci95"] ** 2 for record in records)) / len(records)
    return 100 * mean, 100 * half
