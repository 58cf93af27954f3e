r"""The tables and the plots of docs/results.md and docs/lab-notebook.md, from result files of runs.

    python -m benchmarks.accuracy.tables

`--runs` holds one folder a recipe, and in it one folder a seed: what `trainers.train` and
`trainers.evaluate` have written, without the checkpoints. A table takes the place of the one
between the marks with its name in each of `--documents`; nothing in it is typed by hand but what
others have published.
"""

import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags

from benchmarks.accuracy import kept_runs
from benchmarks.accuracy.published import DATA_SETS, PUBLISHED, ROWS, Row
from benchmarks.accuracy.recipe_lines import Line

FLAGS = flags.FLAGS
RUNS = "benchmarks/results/runs"
PLOTS = "benchmarks/results"
DOCUMENTS = ["docs/results.md", "docs/lab-notebook.md"]
_MARK = re.compile(r"<!-- table (\w+): begin -->\n.*?<!-- table \1: end -->", re.DOTALL)

_TASK_AND_MODE = {
    *("data.way", "data.shot", "data.query"),
    *("transductive", "model.fixed_statistics"),
    *("wrapper", "wrapper.rounds", "wrapper.temperature", "wrapper.balanced"),
}


def read(folder: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipe and the record of every evaluation on test classes with the run's own settings.

    The inner learning rate may be "auto": its row says so. Evaluations with other rates, steps,
    strengths and the like are for the robustness plots.
    """
    for evaluation in kept_runs.evaluations(folder):
        automatic = kept_runs.has_automatic_rate(evaluation.record)
        allowed = _TASK_AND_MODE | ({"inner.learning_rate"} if automatic else set())
        if evaluation.changed <= allowed:
            yield evaluation.recipe, evaluation.record


def lines(records_found: Sequence[tuple[str, dict[str, Any]]]) -> list[Line]:
    """What there is for each row, transductive first, the best first."""
    table_lines = []
    for row in ROWS:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for recipe, record in records_found:
            settings = record["settings"]
            task = (settings["data"], settings.get("data.way"), settings["data.shot"])
            if task == (row.dataset, row.way, row.shot):
                groups.setdefault((recipe, kept_runs.mode(record)), []).append(record)
        lines_of_row = [Line(row, *key, records) for key, records in groups.items()]
        table_lines += sorted(
            lines_of_row, key=lambda line: (line.mode.startswith("non"), -line.accuracy)
        )
    return table_lines


def with_most_seeds(table_lines: Sequence[Line]) -> list[Line]:
    """For each data set the recipes that were trained most often: not the best ones."""
    seeds_of: dict[str, int] = {}
    for line in table_lines:
        seeds_of[line.row.dataset] = max(seeds_of.get(line.row.dataset, 0), len(line.records))
    chosen = {
        (line.row.dataset, line.recipe)
        for line in table_lines
        if len(line.records) == seeds_of[line.row.dataset]
    }
    return [line for line in table_lines if (line.row.dataset, line.recipe) in chosen]


def markdown(table_lines: Sequence[Line], dataset: str, published: bool = True) -> str:
    """One row for each recipe and mode, one column for each row of the paper's table."""
    rows = [row for row in ROWS if row.dataset == dataset]
    columns = " | ".join(row.name for row in rows)
    text = [
        f"| {DATA_SETS[dataset]} | mode | seeds | tasks | steps | core hours | {columns} |",
        "|---" * (6 + len(rows)) + "|",
    ]
    groups: dict[tuple[str, str], dict[Row, Line]] = {}
    for line in table_lines:
        if line.row.dataset == dataset:
            groups.setdefault((line.mode, line.recipe), {})[line.row] = line
    for (mode, recipe), line_of in sorted(groups.items(), key=_best_first):
        records = next(iter(line_of.values())).records
        cells = [
            f"{line_of[row].accuracy:.2f} ± {line_of[row].half_width:.2f}" if row in line_of else ""
            for row in rows
        ]
        seeds = ", ".join(str(record["seed"]) for record in records)
        tasks = sum(record["tasks"] for record in records)
        steps = "/".join(map(str, sorted({record["steps"] for record in records})))
        hours = sum(record["core_hours"] for record in records)
        text.append(
            f"| {recipe} | {mode} | {seeds} | {tasks} | {steps} | {hours:.2f} | "
            f"{' | '.join(cells)} |"
        )
    for name, field in PUBLISHED.items() if published else ():
        cells = [f"{getattr(row, field):.2f}" for row in rows]
        text.append(f"| {name} | transductive | | | | | {' | '.join(cells)} |")
    return "\n".join(text)


def _best_first(group: tuple[tuple[str, str], dict[Row, Line]]) -> tuple[bool, str, float]:
    (mode, _), line_of = group
    last_row = max(line_of, key=ROWS.index)
    return mode.startswith("non"), mode, -line_of[last_row].accuracy


def tables(table_lines: Sequence[Line]) -> dict[str, str]:
    """Every table, by its name between the marks of the documents."""
    text_of = {dataset: markdown(table_lines, dataset) for dataset in DATA_SETS}
    for name in ("all_weights", "head", "classifier", "classifier_all_weights"):
        chosen_lines = [
            line for line in table_lines if line.adapted == name and not line.self_training
        ]
        # Where all weights adapt, the table compares algorithms, most of which have one seed.
        text_of[name] = _both(
            chosen_lines if name == "all_weights" else with_most_seeds(chosen_lines)
        )
    # Others have published nothing for this problem, which is an easier one.
    text_of["self_training"] = _both(
        [line for line in table_lines if line.self_training], published=False
    )
    return text_of


def at_a_glance(table_lines: Sequence[Line]) -> list[Line]:
    """The best setting of each data set: a head alone on Omniglot, a classifier's on the other."""
    settings = {("omniglot", "head"), ("mini_imagenet", "classifier")}
    chosen_lines = [
        line
        for line in table_lines
        if (line.row.dataset, line.adapted) in settings and not line.self_training
    ]
    return with_most_seeds(chosen_lines)


def _both(table_lines: Sequence[Line], published: bool = True) -> str:
    """A table for each data set of which there are runs."""
    datasets = {line.row.dataset for line in table_lines}
    return "\n\n".join(
        markdown(table_lines, name, published) for name in DATA_SETS if name in datasets
    )


def replaced(document: str, text_of: dict[str, str]) -> str:
    """`document` with each table between the marks of its name."""
    names = _MARK.findall(document)
    unknown = [name for name in names if name not in text_of]
    if not names or unknown or document.count("<!-- table ") != 2 * len(names):
        raise ValueError(
            "Expected tables between <!-- table NAME: begin --> and <!-- table NAME: end -->, with "
            f"a NAME of {sorted(text_of)}. Received: {names}"
        )
    return _MARK.sub(
        lambda m: f"<!-- table {m[1]}: begin -->\n\n{text_of[m[1]]}\n\n<!-- table {m[1]}: end -->",
        document,
    )


def define_flags() -> None:
    """Not at import: benchmarks have flags of the same names."""
    flags.DEFINE_string("runs", RUNS, "Folder of the recipes.")
    flags.DEFINE_list("documents", DOCUMENTS, "Where the tables go.")
    flags.DEFINE_string("plots", PLOTS, "Where the plots go; empty: no plots.")


def main(argv: Sequence[str]) -> None:
    """Write the tables and the plots."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    runs = pathlib.Path(FLAGS.runs)
    table_lines = lines(list(read(runs)))
    text_of = tables(table_lines)
    documents = {pathlib.Path(name): "" for name in FLAGS.documents}
    for path in documents:
        documents[path] = replaced(path.read_text(encoding="utf-8"), text_of)
    if FLAGS.plots:
        from benchmarks.accuracy import forest_plot, tables_plot

        plots = pathlib.Path(FLAGS.plots)
        forest_plot.draw(at_a_glance(table_lines), plots / "forest.png")
        for path in (plots / "forest.png", *tables_plot.draw(runs, plots)):
            print(f"Written to {path}")
    for path, text in documents.items():
        path.write_text(text, encoding="utf-8")
        print(f"Written to {path}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
