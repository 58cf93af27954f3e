r"""Memory against the number of inner steps, and against the tasks that are computed at once.

    python -m benchmarks.cost.memory

Each point is a process of its own; the figure is what it held at most, less what it held with the
framework imported, the network built and the tasks read. For the first table the allocator (of
glibc) gives back at once what is freed; what TensorFlow holds beside still differs from process to
process, so that iMAML's points are the least of several. Exit status 1 if they are not flat within
2 %.
"""

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.cost import meta_gradient as cost

FLAGS = flags.FLAGS
_FLAT = 0.02

flags.DEFINE_list("inner_steps", ["1", "16", "256", "4096"], "Inner steps.")
flags.DEFINE_list("tasks_per_chunk", ["16", "8", "4", "2", "1"], "Tasks at once, of 16.")
flags.DEFINE_integer("filters", 64, "Features of Conv4.", lower_bound=1)
flags.DEFINE_integer("processes", 5, "Processes for each point of iMAML.", lower_bound=1)
flags.DEFINE_float("memory_limit_gib", 8.0, "Points that would need more are not run.")
flags.DEFINE_integer("seed", 0, "Of weights and tasks.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Measure and print two tables in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    facts = machine.describe()
    print(f"seed {FLAGS.seed}, {facts['cores']} cores of {facts['cpu']}; Conv4, random images")
    grid = sorted(int(steps) for steps in FLAGS.inner_steps)
    with tempfile.TemporaryDirectory() as folder:
        problem = os.path.join(folder, "problem.npz")
        cost.write_problem(problem, 4, 5, 1, 5, FLAGS.filters, FLAGS.seed)
        print("\n5-way 1-shot, 4 tasks: MiB above the built network\n")
        print(f"| | {' | '.join(f'{steps} inner steps' for steps in grid)} |")
        print("|---|" + "---|" * len(grid), flush=True)
        mebibytes: list[float] = []
        for algorithm in ("imaml", "fomaml", "maml_recompute", "maml"):
            times = FLAGS.processes if algorithm == "imaml" else 1
            runs = [
                list(cost.sweep(problem, algorithm, grid, 1, FLAGS.memory_limit_gib, True))
                for _ in range(times)
            ]
            cells = [_cell(list(rows)) for rows in zip(*runs, strict=True)]
            if algorithm == "imaml":
                points = [rows for rows in zip(*runs, strict=True) if not rows[0]["note"]]
                mebibytes = [min(row["memory_mib"] for row in rows) for rows in points]
            print(f"| {algorithm} | {' | '.join(cells)} |", flush=True)
        cost.write_problem(problem, 16, 5, 1, 15, FLAGS.filters, FLAGS.seed)
        print("\n5-way 1-shot, 15 queries per class, 16 tasks, 16 inner steps, iMAML\n")
        print("| tasks at once | MiB | seconds |\n|---|---|---|", flush=True)
        for at_once in FLAGS.tasks_per_chunk:
            row = cost.run(problem, f"imaml:{at_once}", 16, 3)
            print(f"| {at_once} | {row['memory_mib']:.0f} | {row['seconds']:.3f} |", flush=True)
    change = max(mebibytes) / min(mebibytes) - 1
    flat = change <= _FLAT
    print(f"\niMAML's memory changes by {100 * change:.1f} %: {'' if flat else 'not '}reached")
    raise SystemExit(not flat)


def _cell(rows: list[dict[str, Any]]) -> str:
    """The least of several processes, and beside it the most."""
    if rows[0]["note"]:
        return rows[0]["note"]
    mebibytes = sorted(row["memory_mib"] for row in rows)
    return f"{mebibytes[0]:.0f}" + (f" (to {mebibytes[-1]:.0f})" if len(mebibytes) > 1 else "")


if __name__ == "__main__":
    app.run(main)
