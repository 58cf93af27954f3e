r"""Processor time and memory of the meta-steps of each preset.

    python -m benchmarks.cost.presets --data_dir=DIR
    python -m benchmarks.cost.presets --data_dir=DIR --only=glyphs_5way_1shot,sinusoid

Each preset trains for a few steps in a process of its own. `--output` keeps earlier lines of
presets that are not measured again; docs/presets.md shows the file.
"""

import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "TFDS folder with the data sets.")
flags.DEFINE_list("only", [], "Names of presets, without .flags; empty: all.")
flags.DEFINE_string("output", "benchmarks/results/presets.csv", "Where the figures go.")
flags.DEFINE_integer("steps", 4, "Timed steps.", lower_bound=1)
flags.DEFINE_string("worker", None, "A preset to measure in this process.")

PRESETS = pathlib.Path(machine.ROOT) / "trainers" / "presets"
COLUMNS = ("preset", "cpu_seconds_a_step", "first_step_cpu_seconds", "gib")


def main(argv: Sequence[str]) -> None:
    """Print and keep a line for each preset."""
    if FLAGS.worker:
        print(json.dumps(_measure(FLAGS.worker)))
        return
    output = pathlib.Path(FLAGS.output)
    lines = read(output)
    names = FLAGS.only or [str(p.relative_to(PRESETS))[:-6] for p in PRESETS.rglob("*.flags")]
    for name in sorted(names):
        command = [sys.executable, "-m", "benchmarks.cost.presets", f"--worker={name}"]
        command += [f"--steps={FLAGS.steps}", f"--data_dir={FLAGS.data_dir or ''}"]
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": machine.ROOT}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{name}: not measured: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        lines[name] = json.loads(done.stdout.splitlines()[-1])
        print(lines[name], flush=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines[key] for key in sorted(lines))


def read(path: pathlib.Path) -> dict[str, dict[str, str]]:
    """The lines of a file by preset; none if it is missing."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {line["preset"]: line for line in csv.DictReader(stream)}


def _measure(name: str) -> dict[str, str]:
    import dataclasses

    import keras
    from trainers import experiment, parsing
    from trainers.settings import Machine

    settings = parsing.settings_of_file(str(PRESETS / f"{name}.flags"))
    settings = dataclasses.replace(settings, features="", data_dir=FLAGS.data_dir or "")
    experiment.start(settings, Machine())
    learner = experiment.learner(settings)
    ends: list[float] = []

    class ProcessorTime(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            ends.append(time.process_time())

    tasks = experiment.batches(settings, experiment.tasks(settings, "train"))
    start = time.process_time()
    learner.fit(tasks, steps_per_epoch=FLAGS.steps + 1, verbose=0, callbacks=[ProcessorTime()])
    steps = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    figures = (statistics.median(steps), ends[0] - start, machine.resident()[1] / 2**30)
    return dict(zip(COLUMNS, (name, *(f"{figure:.2f}" for figure in figures)), strict=True))


if __name__ == "__main__":
    app.run(main)
