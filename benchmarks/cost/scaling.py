r"""Time of a meta-step against tasks, inner steps, CG steps, support size and width.

    python -m benchmarks.cost.scaling --output_dir=benchmarks/results/scaling

Workload A of `benchmarks.speed.meta_step`, one setting changed at a time; PNG and CSV. A
point is too slow if the time has grown by more than the operations have, within --tolerance: exit
status 1.
"""

import csv
import dataclasses
import gc
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.speed import operations
from benchmarks.speed.workloads import WORKLOADS, Workload, draw_tasks

FLAGS = flags.FLAGS
SWEEPS: dict[str, tuple[int, ...]] = {
    "tasks": (1, 4, 16, 64, 256),
    "inner_steps": (1, 4, 16, 64, 256),
    "linear_steps": (1, 2, 5, 10, 20),
    "shot": (1, 2, 3, 5),
    "filters": (8, 16, 32, 64, 128),
}

flags.DEFINE_string("output_dir", "runs/benchmarks/scaling", "Folder of the PNG and the CSV.")
flags.DEFINE_list("sweeps", list(SWEEPS), f"Some of {', '.join(SWEEPS)}.")
flags.DEFINE_integer("rounds", 3, "Timed meta-steps of a point.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the weights and the tasks.", lower_bound=0)
flags.DEFINE_float("tolerance", 0.25, "Growth beyond that of the operations that is let pass.")


def main(argv: Sequence[str]) -> None:
    """Measure, draw, and judge."""
    del argv
    unknown_sweeps = sorted(set(FLAGS.sweeps) - set(SWEEPS))
    if unknown_sweeps:
        raise app.UsageError(
            f"--sweeps: expected some of {list(SWEEPS)}; received {unknown_sweeps}"
        )
    os.makedirs(FLAGS.output_dir, exist_ok=True)

    import keras_imaml as ki

    cores = ki.parallel_tasks()
    facts = machine.describe()
    print(machine.busy(facts), end="")
    print(f"{WORKLOADS['A'].title}; seed {FLAGS.seed}; {cores} cores of {facts['cpu']}\n")
    print(
        "| setting | value | ms a step | ms a task | GFLOP/s |\n|---|---|---|---|---|", flush=True
    )
    rows = []
    for name in FLAGS.sweeps:
        for row in sweep(name):
            rows.append(row)
            print(
                f"| {name} | {row['value']} | {row['ms']:.1f} | {row['ms_a_task']:.2f} "
                f"| {row['gflop_per_s']:.0f} |",
                flush=True,
            )
    path = os.path.join(FLAGS.output_dir, "scaling")
    with open(f"{path}.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(f"{path}.png", rows)
    print(f"\nWritten to {path}.csv and {path}.png")
    problems = list(too_slow(rows, FLAGS.tolerance))
    print(*(problems or ["no step grows faster than its operations: reached"]), sep="\n")
    raise SystemExit(bool(problems))


def sweep(name: str) -> Iterator[dict[str, Any]]:
    """A row for each value of one setting."""
    for value in SWEEPS[name]:
        workload = dataclasses.replace(WORKLOADS["A"], **{name: value})
        milliseconds = measure(workload)
        flops = operations.meta_step_flops(workload)
        yield {
            "setting": name,
            "value": value,
            "ms": milliseconds,
            "ms_a_task": milliseconds / workload.tasks,
            "gflop": flops / 1e9,
            "gflop_per_s": flops / 1e6 / milliseconds,
        }


def measure(workload: Workload) -> float:
    """The median of --rounds meta-steps, in milliseconds."""
    from keras_imaml.learner.meta_batch import meta_gradient

    import tensorflow as tf

    from benchmarks.speed.ours import learner_for

    learner = learner_for(SimpleNamespace(**dataclasses.asdict(workload), seed=FLAGS.seed))
    tasks = tf.nest.map_structure(tf.constant, draw_tasks(workload, FLAGS.seed))
    data = ((tasks["support_x"], tasks["support_y"]), (tasks["query_x"], tasks["query_y"]))

    @tf.function(autograph=False)
    def step(data: Any) -> Any:
        objective = learner.objective(data, training=True)
        variables = learner.trainable_variables
        return meta_gradient(learner.algorithm, objective, variables, None).gradients

    times = []
    for _ in range(1 + FLAGS.rounds):
        start = time.perf_counter()
        step(data)[-1].numpy()
        times.append(1e3 * (time.perf_counter() - start))
    gc.collect()  # what the workload before held
    return statistics.median(times[1:])


def too_slow(rows: Sequence[dict[str, Any]], tolerance: float) -> Iterator[str]:
    """A complaint for each point whose time has grown by more than its operations."""
    for before, row in zip(rows, rows[1:], strict=False):
        if before["setting"] == row["setting"]:
            growth, work = row["ms"] / before["ms"], row["gflop"] / before["gflop"]
            if growth > (1 + tolerance) * work:
                yield (
                    f"{row['setting']} from {before['value']} to {row['value']}: {growth:.2f} "
                    f"times the time for {work:.2f} times the operations"
                )


def draw(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """A panel a setting: the time, and a line that grows as the operations do."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["setting"] for row in rows))
    figure, axes = pyplot.subplots(
        1, len(names), figsize=(3.4 * len(names), 3.4), squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes[0], names, strict=True):
        line = [row for row in rows if row["setting"] == name]
        values, last = [row["value"] for row in line], line[-1]
        ax.plot(values, [row["ms"] for row in line], "o-", label="measured")
        as_work = [last["ms"] * row["gflop"] / last["gflop"] for row in line]
        ax.plot(values, as_work, ":", color="0.5", label="as the operations")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xlabel(name.replace("_", " "))
        ax.grid(alpha=0.2)
    axes[0][0].set_ylabel("milliseconds a meta-step")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    app.run(main)
