r"""The table and the plots of docs/results.md, from the result files of runs.

    python -m benchmarks.tables

`--runs` holds one folder a recipe, and in it one folder a seed: what `trainers.train` and
`trainers.evaluate` have written, without the checkpoints. The table takes the place of the one in
`--document`; nothing in it is typed by hand but what others have published.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl import app, flags

from benchmarks import kept_runs, report

FLAGS = flags.FLAGS
_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"

flags.DEFINE_string("runs", "benchmarks/results/runs", "Folder of the recipes.")
flags.DEFINE_string("document", "docs/results.md", "Where the table goes.")
flags.DEFINE_string("plots", "benchmarks/results", "Where the plots go.")


_TASK_AND_MODE = {
    *("data.way", "data.shot", "data.query"),
    *("transductive", "model.fixed_statistics"),
    *("wrapper", "wrapper.rounds", "wrapper.temperature", "wrapper.balanced"),
}


class Row(NamedTuple):
    """One row of the paper's tables, and what others have published for it, in percent."""

    name: str
    dataset: str
    way: int
    shot: int
    gradient_descent: float
    hessian_free: float
    maml_plus_plus: float
    reach: float
    conquer: float


# Rajeswaran et al., 2019, tables 2 and 3; Antoniou et al., 2019.
ROWS = (
    Row("Omniglot 5-way 1-shot", "omniglot", 5, 1, 99.16, 99.50, 99.47, 99.2, 99.6),
    Row("Omniglot 5-way 5-shot", "omniglot", 5, 5, 99.67, 99.74, 99.85, 99.7, 99.9),
    Row("Omniglot 20-way 1-shot", "omniglot", 20, 1, 94.46, 96.18, 97.65, 96.2, 97.7),
    Row("Omniglot 20-way 5-shot", "omniglot", 20, 5, 98.69, 99.14, 99.33, 99.1, 99.4),
    Row("mini-ImageNet 5-way 1-shot", "mini_imagenet", 5, 1, 48.96, 49.30, 52.40, 49.3, 52.5),
)


class Line(NamedTuple):
    """The runs of one recipe on one row."""

    row: Row
    recipe: str
    mode: str
    records: list[dict[str, Any]]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, in percent."""
        return report.over_seeds(self.records)[0]

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of that mean over all tasks of all seeds, in percent."""
        return report.over_seeds(self.records)[1]


def read(folder: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipe and the record of every evaluation on test classes with the run's own settings.

    Evaluations with other steps, strengths and the like are for the robustness plots.
    """
    for kept in kept_runs.evaluations(folder):
        if kept.changed <= _TASK_AND_MODE:
            yield kept.recipe, kept.record


def lines(found: Sequence[tuple[str, dict[str, Any]]]) -> list[Line]:
    """What there is for each row, transductive first, the best first."""
    made = []
    for row in ROWS:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for recipe, record in found:
            settings = record["settings"]
            task = (settings["data"], settings.get("data.way"), settings["data.shot"])
            if task == (row.dataset, row.way, row.shot):
                groups.setdefault((recipe, kept_runs.mode(record)), []).append(record)
        some = [Line(row, *key, records) for key, records in groups.items()]
        made += sorted(some, key=lambda line: (line.mode.startswith("non"), -line.accuracy))
    return made


def markdown(made: Sequence[Line]) -> str:
    """The table."""
    text = [
        "| task | run | mode | accuracy | seeds | tasks | steps | core hours | reach | conquer |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        text.append(
            f"| **{row.name}** | published | transductive | iMAML, gradient descent "
            f"{row.gradient_descent:.2f}, Hessian-free {row.hessian_free:.2f}; MAML++ "
            f"{row.maml_plus_plus:.2f} | | | | | {row.reach:g} | {row.conquer:g} |"
        )
        own = [line for line in made if line.row is row]
        if not own:
            text.append("| | no run yet | | not reached | | | | | | |")
        for line in own:
            seeds = ", ".join(str(r["seed"]) for r in line.records)
            tasks = sum(r["tasks"] for r in line.records)
            steps = {r["steps"] for r in line.records}
            hours = sum(r["core_hours"] for r in line.records)
            verdicts = (
                "reached" if line.accuracy >= goal else "not reached"
                for goal in (row.reach, row.conquer)
            )
            text.append(
                f"| | {line.recipe} | {line.mode} | {line.accuracy:.2f} ± {line.half_width:.2f} | "
                f"{seeds} | {tasks} | {'/'.join(map(str, sorted(steps)))} | {hours:.2f} | "
                f"{' | '.join(verdicts)} |"
            )
    return "\n".join(text)


def replaced(document: str, table: str) -> str:
    """`document` with `table` between the marks."""
    if document.count(_BEGIN) != 1 or document.count(_END) != 1:
        raise ValueError(f"Expected {_BEGIN!r} and {_END!r} once each in --document.")
    before, _, rest = document.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}"


def main(argv: Sequence[str]) -> None:
    """Write the table and the plots."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    runs, document = pathlib.Path(FLAGS.runs), pathlib.Path(FLAGS.document)
    table = markdown(lines(list(read(runs))))
    text = replaced(document.read_text(encoding="utf-8"), table)

    from benchmarks import tables_plot

    for path in tables_plot.draw(runs, pathlib.Path(FLAGS.plots)):
        print(f"Written to {path}")
    document.write_text(text, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    app.run(main)
