r"""Keep what docs/results.md needs of a run: settings, results and its learning curve.

    python -m benchmarks.accuracy.keep_run --run_dir=runs/head --recipe=head

The folder `--runs`/RECIPE/SEED then holds the flags (without places on this machine), the result
files, with those of the run of `--features`, of the run that this one began with and so on, whose
time counts too, and `learning_curve.csv`: for every epoch the meta-steps at its end and the mean
accuracy on the query sets of its training tasks.
`python -m benchmarks.accuracy.tables` makes tables and plots of them.
"""

import csv
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags

from benchmarks.accuracy import result_files

FLAGS = flags.FLAGS

CURVE = "learning_curve.csv"
FEATURES = "features_{}.json"  # results of the runs that this one began with, the last one first


def define_flags() -> None:
    """Not at import: flags of the trainers have the same names."""
    flags.DEFINE_string("run_dir", None, "Run folder of trainers.train.", required=True)
    flags.DEFINE_string("recipe", None, "The name of the recipe in the tables.", required=True)
    flags.DEFINE_string("runs", "benchmarks/results/runs", "Folder of the recipes.")


def main(argv: Sequence[str]) -> None:
    """Copy the files and write the curve."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    run = pathlib.Path(FLAGS.run_dir)
    if not (run / "result.json").exists():
        raise app.UsageError(f"Expected a run that is complete. Received: --run_dir={run}")
    result = result_files.read(run / "result.json")
    folder = pathlib.Path(FLAGS.runs) / FLAGS.recipe / str(result["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    for file in (run / "result.json", *sorted(run.glob("evaluation_test*.json"))):
        (folder / file.name).write_text(
            without_place(file.read_text(encoding="utf-8")), encoding="utf-8"
        )
    for stale in folder.glob(FEATURES.format("*")):
        stale.unlink()
    for number, earlier in enumerate(_runs_before(result), start=1):
        text = (earlier / "result.json").read_text(encoding="utf-8")
        (folder / FEATURES.format(number)).write_text(without_place(text), encoding="utf-8")
    settings = (run / "flags.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    portable_settings = [
        without_place(line) for line in settings if not line.startswith("--data_dir=")
    ]
    (folder / "flags.txt").write_text("".join(portable_settings), encoding="utf-8")
    points = learning_curve(run / "logs" / "train", result["settings"]["steps_per_epoch"])
    with open(folder / CURVE, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("steps", "accuracy"), *points])
    print(f"Written to {folder}: {result['steps']} steps, {len(points)} epochs")


def _runs_before(result: dict[str, Any]) -> Iterator[pathlib.Path]:
    """The folder of the run that one with this result began with, and of those before it."""
    while folder := result["settings"].get("features"):
        yield pathlib.Path(folder)
        result = result_files.read(pathlib.Path(folder) / "result.json")


def without_place(text: str) -> str:
    """Flags or results with the name alone of the run that another one began with."""
    return re.sub(r'(--features=|"features": ")([^"\n]*/)?', r"\1", text)


def learning_curve(logs: pathlib.Path, steps_per_epoch: int) -> list[tuple[int, float]]:
    """The mean accuracy of each epoch, from the logs of a run and of its continuations."""
    import keras_imaml  # noqa: F401  (TensorFlow's own lines stay off the terminal)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorflow import make_ndarray

    accuracy_of: dict[int, float] = {}
    for file in sorted(logs.glob("events*")):
        events = EventAccumulator(str(file), size_guidance={"tensors": 0})
        events.Reload()
        if "adaptation/accuracy" in events.Tags()["tensors"]:
            for event in events.Tensors("adaptation/accuracy"):
                accuracy_of[event.step] = float(make_ndarray(event.tensor_proto))
    sums: dict[int, tuple[float, int]] = {}
    last = 0
    for step, accuracy in sorted(accuracy_of.items()):  # a point is the mean of the steps before it
        epoch = -(-step // steps_per_epoch) * steps_per_epoch
        total, steps = sums.get(epoch, (0.0, 0))
        sums[epoch] = total + accuracy * (step - last), steps + step - last
        last = step
    return [(epoch, round(total / steps, 6)) for epoch, (total, steps) in sums.items()]


if __name__ == "__main__":
    define_flags()
    app.run(main)
