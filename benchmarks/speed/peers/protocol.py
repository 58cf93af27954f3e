"""How the driver and a worker talk; the only module that all workers share. NumPy is enough.

A worker is run as `python -m MODULE problem.npz answer.npz [variant]`. It computes the
meta-gradient once, writes it, prints `ready`, and then answers each line `step` on its standard
input with `ms NUMBER` after another meta-step.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A problem file.

    Attributes:
        settings: The workload's fields.
        names: Of the weights, in Keras' order.
        weights: theta, arrays in Keras' layout.
        tasks: `support_x, support_y, query_x, query_y`, each `[tasks, rows, ...]`.
        variant: What follows the files on the command line.
    """

    settings: SimpleNamespace
    names: list[str]
    weights: list[np.ndarray]
    tasks: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    variant: str


class Worker(NamedTuple):
    """A meta-step that is ready to run.

    Attributes:
        step: Runs it to the end and returns the meta-gradient in the framework's own form.
        answer: Turns that into the flat meta-gradient, in Keras' order and layout.
        versions: Of the framework, for the report.
        notes: Called after the first step; numbers for the report.
    """

    step: Callable[[], Any]
    answer: Callable[[Any], np.ndarray]
    versions: dict[str, str]
    notes: Callable[[], dict[str, float]] = dict


def read(path: str, variant: str = "") -> Problem:
    """Read a problem file."""
    with np.load(path) as arrays:
        settings = json.loads(str(arrays["settings"]))
        names = settings.pop("names")
        weights = [arrays[f"weight/{name}"] for name in names]
        parts = ("support_x", "support_y", "query_x", "query_y")
        support_x, support_y, query_x, query_y = (arrays[part] for part in parts)
    return Problem(
        settings=SimpleNamespace(**settings),
        names=names,
        weights=weights,
        tasks=(support_x, support_y, query_x, query_y),
        variant=variant,
    )


def serve(build: Callable[[Problem], Worker], arguments: Sequence[str] | None = None) -> None:
    """Be a worker until standard input ends."""
    problem_file, answer_file, *variant = sys.argv[1:] if arguments is None else arguments
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the replies
    worker = build(read(problem_file, *variant))
    gradient = np.asarray(worker.answer(worker.step()), np.float32)
    np.savez(
        answer_file,
        gradient=gradient,
        versions=json.dumps(worker.versions),
        notes=json.dumps(worker.notes()),
    )
    print("ready", file=replies)
    for line in sys.stdin:
        if line.strip() != "step":
            raise ValueError(f"Invalid request. Expected 'step'. Received: {line!r}")
        start = time.perf_counter()
        worker.step()
        print(f"ms {1e3 * (time.perf_counter() - start):.4f}", file=replies)
