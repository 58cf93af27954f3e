r"""Train every algorithm on sine waves and on drawn characters, and print what each reaches.

    python -m benchmarks.accuracy.algorithms --output_dir=runs/algorithms

Each line is a run of `trainers.train` with a folder of its own: a second call resumes
interrupted runs, and only prints the lines of finished ones. The last line says whether all runs
are as good as expected. The exit status is 1 if not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import app, flags

from benchmarks.machine import ROOT

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "runs/algorithms", "One run folder a line is made in it.")
flags.DEFINE_list("only", [], "Names of runs, such as sinusoid/maml; empty: all.")
flags.DEFINE_integer("seed", 0, "Seed of weights and episodes.", lower_bound=0)

PRESETS = os.path.join(ROOT, "trainers", "presets")


class Run(NamedTuple):
    """A run and what is expected: an accuracy, or a query loss this many times lower after."""

    preset: str
    flags: tuple[str, ...]
    accuracy: float = 0.0
    times_lower: float = 0.0


_SINE = ("--steps=3000", "--validation_tasks=0")
_DESCENT = ("--inner=gradient_descent", "--inner.steps=10")
_SINE_PATH = (*_SINE, *_DESCENT, "--inner.learning_rate=0.02")
_FIRST_ORDER = ("--algorithm=maml", "--algorithm.first_order")
_GLYPHS = ("--validation_tasks=0",)
_GLYPHS_PATH = (*_GLYPHS, "--steps=1000", "--outer.clip_norm=10")
RUNS = {
    "sinusoid/imaml": Run("sinusoid", _SINE, times_lower=5),
    "sinusoid/maml": Run("sinusoid", (*_SINE_PATH, "--algorithm=maml"), times_lower=5),
    "sinusoid/meta_sgd": Run(
        "sinusoid",
        (*_SINE_PATH, "--algorithm=maml", "--inner.learning_rate.per=weight"),
        times_lower=5,
    ),
    "sinusoid/fomaml": Run(
        "sinusoid",
        (*_SINE, *_DESCENT, *_FIRST_ORDER, "--inner.learning_rate=0.01"),
        times_lower=5,
    ),
    "sinusoid/reptile": Run(
        "sinusoid",
        (
            *_SINE,
            "--algorithm=reptile",
            "--inner=adam",
            "--inner.steps=64",
            "--inner.learning_rate=0.02",
        ),
        times_lower=5,
    ),
    "unlabelled_sinusoid/daml": Run(
        "unlabelled_sinusoid", ("--validation_tasks=0",), times_lower=5
    ),
    "unlabelled_sinusoid/implicit_daml": Run(
        "unlabelled_sinusoid",
        (
            "--validation_tasks=0",
            "--algorithm=imaml",
            "--algorithm.curvature=hessian",
            "--algorithm.proximal_strength=5",
            "--inner=lbfgs",
            "--inner.first_step=0.03",
            "--linear.max_steps=10",
        ),
        times_lower=5,
    ),
    "glyphs/imaml": Run("glyphs_5way_1shot", _GLYPHS, accuracy=0.9),
    "glyphs/maml": Run("glyphs_5way_1shot", (*_GLYPHS_PATH, "--algorithm=maml"), accuracy=0.9),
    "glyphs/meta_sgd": Run(
        "glyphs_5way_1shot",
        (*_GLYPHS_PATH, "--algorithm=maml", "--inner.learning_rate.per=layer"),
        accuracy=0.9,
    ),
    "glyphs/fomaml": Run("glyphs_5way_1shot", (*_GLYPHS_PATH, *_FIRST_ORDER), accuracy=0.9),
    "glyphs/reptile": Run(
        "glyphs_5way_1shot",
        (*_GLYPHS, "--steps=1000", "--algorithm=reptile"),
        accuracy=0.8,
    ),
}


def main(argv: Sequence[str]) -> None:
    """Train, and print a table in Markdown."""
    del argv
    unknown = sorted(set(FLAGS.only) - set(RUNS))
    if unknown:
        raise app.UsageError(f"--only: expected names of {list(RUNS)}; received {unknown}")
    print("| run | before adaptation | after | tasks | steps | seconds | expected | |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    reached = [_line(name, run) for name, run in RUNS.items() if name in (FLAGS.only or RUNS)]
    print(f"\nseed {FLAGS.seed}; {sum(reached)} of {len(reached)} reached")
    raise SystemExit(not all(reached))


def _line(name: str, run: Run) -> bool:
    folder = os.path.join(FLAGS.output_dir, name)
    command = [
        *(sys.executable, "-m", "trainers.train"),
        f"--flagfile={os.path.join(PRESETS, run.preset)}.flags",
        *run.flags,
        f"--seed={FLAGS.seed}",
        f"--run_dir={folder}",
        "--verbose=0",
    ]
    file = os.path.join(folder, "result.json")
    if not os.path.isfile(file):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    with open(file, encoding="utf-8") as stream:
        result = json.load(stream)
    reached, cells = _cells(result, run)
    print(
        f"| {name} | {' | '.join(cells)} | {'reached' if reached else 'not reached'} |", flush=True
    )
    return reached


def _cells(result: dict[str, Any], run: Run) -> tuple[bool, list[str]]:
    counts = [str(result["tasks"]), str(result["steps"]), f"{result['wall_seconds']:.0f}"]
    if run.accuracy:
        before, after, half = (100 * result[k] for k in ("accuracy_before", "accuracy", "ci95"))
        figures = [f"{before:.2f} %", f"{after:.2f} ± {half:.2f} %"]
        return result["accuracy"] >= run.accuracy, [*figures, *counts, f"{100 * run.accuracy:g} %"]
    before, after, half = (result[k] for k in ("loss_before", "loss", "loss_ci95"))
    figures = [f"{before:.4f}", f"{after:.4f} ± {half:.4f}"]
    expected = f"{run.times_lower:g} times lower"
    return before >= run.times_lower * after, [*figures, *counts, expected]


if __name__ == "__main__":
    app.run(main)
