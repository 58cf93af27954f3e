r"""Figure 2 of the paper from this package: accuracy, memory and time of the meta-gradient.

    python -m benchmarks.paper.figure2 --data_dir=/path/to/tensorflow_datasets

(a) Relative error of the meta-gradient on linear regression against the number of inner steps, for
MAML and for iMAML with 2, 5, 10 and 20 steps of conjugate gradient, with gradient descent and with
Nesterov's momentum. Every point is checked against Lemma 2 and against the rates of the solvers;
the command fails if one is above. See `regression.py` for the problem and the bounds.

(b), (c) Memory and time of one meta-gradient of Conv4 on 20-way 5-shot Omniglot, on this CPU, for
MAML (keeping its steps, or computing them again on the way back), first-order MAML and iMAML with 5
steps of conjugate gradient. See `benchmarks/cost/meta_gradient.py`.

Writes figure2a.csv, figure2bc.csv and figure2.png.
"""

import csv
import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.cost import meta_gradient as cost

FLAGS = flags.FLAGS
_PARTS = ("a", "b", "c")

flags.DEFINE_string("output_dir", "benchmarks/results/figure2", "Where the files go.")
flags.DEFINE_list("parts", list(_PARTS), "Panels: some of a, b, c.")
flags.DEFINE_string("data_dir", None, "TFDS folder with Omniglot; without it, random images.")
flags.DEFINE_integer("regression_tasks", 8, "Tasks of (a).", lower_bound=1)
flags.DEFINE_integer("tasks", 1, "Tasks of the meta-batch of (b) and (c).", lower_bound=1)
flags.DEFINE_list("inner_steps", [str(1 << n) for n in range(8)], "Inner steps of (b) and (c).")
flags.DEFINE_integer("repeats", 3, "Timed meta-gradients of each point.", lower_bound=1)
flags.DEFINE_float("memory_limit_gib", 8.0, "Points that would need more are not run.")
flags.DEFINE_integer("seed", 0, "Of weights and tasks.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Measure, write and draw as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    grid = check_flags()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.makedirs(FLAGS.output_dir, exist_ok=True)
    facts = machine.describe()
    print(f"seed {FLAGS.seed}, {facts['cores']} cores of {facts['cpu']}")
    started = time.perf_counter()
    accuracy: list[dict[str, Any]] = []
    costs: list[dict[str, Any]] = []
    problems: list[str] = []
    if "a" in FLAGS.parts:
        accuracy, problems = measure_accuracy()
    images = ""
    if {"b", "c"} & set(FLAGS.parts):
        if machine.busy(facts):
            print(f"Warning: other programs run here (load {facts['load_average_at_start']:.1f})")
        costs, images = measure_costs(grid)

    from benchmarks.paper import figure2_plot

    picture = os.path.join(FLAGS.output_dir, "figure2.png")
    figure2_plot.draw(picture, FLAGS.parts, accuracy, costs, images)
    print(f"Written to {FLAGS.output_dir} after {time.perf_counter() - started:.0f} s")
    if problems:
        raise SystemExit("\n".join(["Above the theory's bound:", *problems]))


def check_flags() -> list[int]:
    """Refuse what cannot be measured, before anything is; the inner steps, ascending."""
    if not FLAGS.parts or set(FLAGS.parts) - set(_PARTS):
        raise app.UsageError(f"--parts={','.join(FLAGS.parts)}: expected some of a, b, c")
    try:
        grid = sorted({int(steps) for steps in FLAGS.inner_steps})
    except ValueError:
        grid = []
    if not grid or grid[0] < 1:
        raise app.UsageError(
            f"--inner_steps={','.join(FLAGS.inner_steps)}: expected whole numbers of at least 1"
        )
    if not FLAGS.memory_limit_gib > 0:
        raise app.UsageError(f"--memory_limit_gib={FLAGS.memory_limit_gib} must be above 0")
    if FLAGS.data_dir is not None and not os.path.isdir(FLAGS.data_dir):
        raise app.UsageError(f"--data_dir={FLAGS.data_dir} is not a folder")
    if importlib.util.find_spec("matplotlib") is None:
        raise app.UsageError(
            'The figure is drawn by matplotlib: pip install "keras-imaml[benchmarks]"'
        )
    return grid


def measure_accuracy() -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of (a), and what is above its bound."""
    from benchmarks.paper import regression

    started = time.perf_counter()
    rows = regression.measure(regression.Regression(FLAGS.regression_tasks, FLAGS.seed))
    write("figure2a.csv", [{**row, "seed": FLAGS.seed} for row in rows])
    print(f"\n(a) relative error, mean of {FLAGS.regression_tasks} tasks")
    names = ["MAML", *(f"iMAML, {steps} CG" for steps in regression.LINEAR_STEPS)]
    print(f"{'inner solver':<18}{'steps':>6}" + "".join(f"{name:>13}" for name in names))
    for number in range(0, len(rows), len(names)):
        line = rows[number : number + len(names)]
        errors = "".join(f"{row['relative_error']:>13.2e}" for row in line)
        print(f"{line[0]['inner_solver']:<18}{line[0]['inner_steps']:>6}{errors}")
    problems = regression.violations(rows)
    closest = max(row["share_of_bound"] for row in rows)
    print(
        f"{len(rows) - len(problems)} of {len(rows)} points below their bounds; the closest at "
        f"{closest:.4f} of Lemma 2's; {time.perf_counter() - started:.0f} s"
    )
    return rows, problems


def measure_costs(grid: list[int]) -> tuple[list[dict[str, Any]], str]:
    """The rows of (b) and (c), and what the images are."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        problem = os.path.join(folder, "problem.npz")
        images = cost.write_problem(
            problem, FLAGS.tasks, 20, 5, 5, seed=FLAGS.seed, data_dir=FLAGS.data_dir
        )
        print(f"\n(b), (c) {images}, 20-way 5-shot, Conv4-64, {FLAGS.tasks} task(s)")
        print(f"{'algorithm':<16}{'steps':>6}{'MiB':>9}{'seconds':>9}{'fastest':>9}", flush=True)
        rows = []
        for algorithm in cost.ALGORITHMS:
            for row in cost.sweep(problem, algorithm, grid, FLAGS.repeats, FLAGS.memory_limit_gib):
                rows.append({**row, "images": images, "seed": FLAGS.seed})
                print(_cost_line(row), flush=True)
    write("figure2bc.csv", rows)
    print(f"{time.perf_counter() - started:.0f} s")
    return rows, images


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, four digits each."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with open(os.path.join(FLAGS.output_dir, name), "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4g}"


def _cost_line(row: Mapping[str, Any]) -> str:
    line = f"{row['algorithm']:<16}{row['inner_steps']:>6}"
    if "memory_mib" not in row:
        return f"{line}  {row['note']}"
    return f"{line}{row['memory_mib']:>9.0f}{row['seconds']:>9.3f}{row['fastest']:>9.3f}"


if __name__ == "__main__":
    app.run(main)
