r"""iMAML, MAML, FOMAML and Reptile at equal budget: same network, tasks, meta-steps and seeds.

    python -m benchmarks.accuracy.equal_budget --data_dir=DIR --output_dir=runs/equal_budget
    python -m benchmarks.accuracy.equal_budget --dataset=mini_imagenet --data_dir=DIR

Every run is one of `trainers.train` with a tied head, on 20-way 1-shot tasks of Omniglot or on
5-way 1-shot tasks of mini-ImageNet, and is evaluated by `trainers.evaluate` on the ways and shots
of the table. Prints the table of all seeds, with half the 95 % interval over tasks. Each run has a
folder of its own: a second call resumes where the first was interrupted, and only prints what is
done. `--only` chooses runs; the others appear in the table if their folders are complete. What
docs/results.md shows is kept in benchmarks/results/equal_budget, which is such an `--output_dir`.
"""

import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import app, flags

from benchmarks.accuracy import result_files

FLAGS = flags.FLAGS


class DataSet(NamedTuple):
    """What all runs on a data set share.

    Attributes:
        way: Classes of a training task.
        flags: More flags of the tasks.
        rows: Ways and shots to evaluate.
    """

    way: int
    flags: tuple[str, ...]
    rows: tuple[tuple[int, int], ...]


DATA_SETS = {
    "omniglot": DataSet(20, (), ((5, 1), (5, 5), (20, 1), (20, 5))),
    "mini_imagenet": DataSet(5, ("--data.image_size=48",), ((5, 1), (5, 5))),
}
_TASKS = (
    "--data.shot=1",
    "--data.query=5",
    "--tasks_per_step=4",
    "--steps_per_epoch=500",
    "--model.tied_head",
    "--transductive",
    "--outer.learning_rate=0.003",
    "--outer.schedule=cosine",
    "--outer.clip_norm=1",
    "--validation_tasks=0",
)
_HEAD = ("--adapt=head",)
_IMPLICIT = ("--algorithm.proximal_strength=0.2",)
_EXACT = (*_IMPLICIT, "--linear=dual")
_NEWTON = ("--inner=newton_cg",)
_STEPS = ("--inner=gradient_descent", "--inner.steps=16")
_DESCENT = (*_STEPS, "--inner.learning_rate=0.3")
# The best of 0.02, 0.05 and 0.1 on validation classes; 0.3 makes a head on 256 features diverge.
_HEAD_DESCENT = (*_STEPS, "--inner.learning_rate=0.1")
_FIRST_ORDER = ("--algorithm=maml", "--algorithm.first_order")
RUNS: dict[str, tuple[str, ...]] = {
    "head/imaml_newton_cg": (*_HEAD, *_EXACT, *_NEWTON, "--inner.steps=5"),
    "head/imaml_gradient_descent": (*_HEAD, *_EXACT, *_HEAD_DESCENT),
    "head/maml": (*_HEAD, "--algorithm=maml", *_HEAD_DESCENT),
    "head/fomaml": (*_HEAD, *_FIRST_ORDER, *_HEAD_DESCENT),
    "all/imaml_gradient_descent": (*_IMPLICIT, *_DESCENT),
    "all/imaml_newton_cg": (*_IMPLICIT, *_NEWTON, "--inner.steps=5"),
    "all/maml": ("--algorithm=maml", *_DESCENT),
    "all/fomaml": (*_FIRST_ORDER, *_DESCENT),
    "all/reptile": ("--algorithm=reptile", *_DESCENT),
}


def define_flags() -> None:
    """Not at import: flags of the trainers have the same names."""
    flags.DEFINE_enum("dataset", "omniglot", list(DATA_SETS), "What the tasks are drawn from.")
    flags.DEFINE_string("data_dir", None, "TFDS data_dir that holds it; empty: TFDS' own.")
    flags.DEFINE_string(
        "output_dir", "runs/equal_budget", "One run folder a data set, line and seed in it."
    )
    flags.DEFINE_integer("steps", 1000, "Meta-steps of each run.", lower_bound=1)
    flags.DEFINE_integer("tasks", 1000, "Test tasks of each cell.", lower_bound=1)
    flags.DEFINE_multi_integer("seed", [0], "Seeds; may be given several times.")
    flags.DEFINE_multi_enum("only", list(RUNS), list(RUNS), "Lines to run.")


def main(argv: Sequence[str]) -> None:
    """Train, evaluate, and print a table in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    end_when_terminated()
    output = pathlib.Path(FLAGS.output_dir) / FLAGS.dataset
    for seed in FLAGS.seed:
        for name in FLAGS.only:
            complete(output / name / str(seed), name, seed)
    print(table(output))


def complete(folder: pathlib.Path, name: str, seed: int) -> None:
    """Train one line and evaluate it on all rows, but for what is there already."""
    data_set = DATA_SETS[FLAGS.dataset]
    if not (folder / "result.json").exists():
        tasks = (f"--data={FLAGS.dataset}", f"--data.way={data_set.way}", *data_set.flags, *_TASKS)
        of_line = (f"--steps={FLAGS.steps}", f"--test_tasks={FLAGS.tasks}", f"--seed={seed}")
        data = (f"--data_dir={FLAGS.data_dir}",) if FLAGS.data_dir else ()
        machine = (*data, f"--run_dir={folder}", "--verbose=2")
        run("trainers.train", *tasks, *RUNS[name], *of_line, *machine)
    for way, shot in data_set.rows:
        if not evaluation(folder, data_set, way, shot).exists():
            task = (f"--data.way={way}", f"--data.shot={shot}", f"--tasks={FLAGS.tasks}")
            run("trainers.evaluate", f"--run_dir={folder}", *task, "--verbose=0")


def run(*command: str) -> None:
    """A process whose output goes to standard error; a failure ends this one.

    It is ended with this one, and may keep a checkpoint.
    """
    with subprocess.Popen([sys.executable, "-m", *command], stdout=sys.stderr) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status:
        raise SystemExit(f"{' '.join(command)} ended with exit status {status}.")


def end_when_terminated() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that `run` ends what it has started."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def evaluation(folder: pathlib.Path, data_set: DataSet, way: int, shot: int) -> pathlib.Path:
    """Where `trainers.evaluate` writes a row: settings that differ from the run's are named."""
    changed = f"_way={way}" if way != data_set.way else ""
    changed += f"_shot={shot}" if shot != 1 else ""
    return folder / f"evaluation_test{changed}.json"


def table(output: pathlib.Path) -> str:
    """What is complete in the folder of a data set, as a table: the mean of the seeds."""
    data_set = DATA_SETS[output.name]
    rows = data_set.rows
    lines = [
        "| adapted, algorithm | seeds | steps | tasks | seconds | "
        + " | ".join(f"{way}-way {shot}-shot" for way, shot in rows)
        + " |",
        "|---" * (5 + len(rows)) + "|",
    ]
    for name in RUNS:
        folders = [
            folder
            for folder in sorted((output / name).glob("*"))
            if all(evaluation(folder, data_set, *row).exists() for row in rows)
        ]
        if folders:
            results = [result_files.read(folder / "result.json") for folder in folders]
            cells = [
                [result_files.read(evaluation(f, data_set, *row)) for f in folders] for row in rows
            ]
            steps = "/".join(sorted({str(result["steps"]) for result in results}))
            tasks = "/".join(sorted({str(run["tasks"]) for cell in cells for run in cell}))
            seconds = sum(result["wall_seconds"] for result in results) / len(results)
            accuracies = " | ".join(
                "{:.2f} ± {:.2f}".format(*result_files.over_seeds(c)) for c in cells
            )
            seeds = ", ".join(folder.name for folder in folders)
            parts, algorithm = name.split("/")
            first = f"{parts}, {algorithm}"
            lines.append(
                f"| {first} | {seeds} | {steps} | {tasks} | {seconds:.0f} | {accuracies} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    app.run(main)
