"""The tables of the results: nothing in them but what result files hold."""

import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.accuracy import (
    equal_budget,
    keep_run,
    kept_runs,
    power_law,
    result_files,
    tables,
)
from benchmarks.accuracy.published import ROWS
from benchmarks.accuracy.recipe_lines import Line
from tests import programs

SETTINGS = {"dataset": "omniglot", "way": 20, "shot": 1, "transductive": True, "inner_steps": 5}
SETTINGS |= {"inner_solver": "newton_cg"}  # by the names that runs of old times have


def record(seed, accuracy, **settings):
    return {
        "accuracy": accuracy,
        "ci95": 0.003,
        "tasks": 1000,
        "transductive": settings.get("transductive", True),
        "steps": 500,
        "wall_seconds": 1800.0,
        "cores": 2,
        "seed": seed,
        "settings": {**SETTINGS, **settings},
    }


@pytest.fixture
def runs(tmp_path):
    for seed, accuracy in ((0, 0.990), (1, 0.996)):
        folder = tmp_path / "head" / str(seed)
        folder.mkdir(parents=True)
        (folder / "flags.txt").write_text("--way=20\n")
        files = {
            "result": record(seed, 0.9),
            "evaluation_test_way=5": record(seed, accuracy, way=5),
            "evaluation_test_way=5_inner_steps=1": record(seed, 0.5, way=5, inner_steps=1),
            # A file that is newer than the run has settings that the run's file does not know.
            "evaluation_test_way=5_shot=5": record(seed, 0.7, way=5, shot=5, inner_linear_steps=5),
            "evaluation_test_inner_linear_steps=1": record(seed, 0.6, inner_linear_steps=1),
        }
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_seeds_are_averaged_and_other_settings_left_out(runs):
    line, five_shot = tables.lines(list(tables.read(runs)))
    assert five_shot.accuracy == pytest.approx(70)
    assert (line.recipe, line.row.way, len(line.records)) == ("head", 5, 2)
    assert line.accuracy == pytest.approx(99.3)
    assert line.half_width == pytest.approx(0.3 / math.sqrt(2))
    table = tables.markdown([line, five_shot], "omniglot")
    cells = "99.30 ± 0.21 | 70.00 ± 0.21 |  |  |"
    assert f"| head | transductive | 0, 1 | 2000 | 500 | 2.00 | {cells}" in table
    assert "| published: MAML++ | transductive | | | | | 99.47 | 99.85 | 97.65 | 99.33 |" in table
    assert "published" not in tables.markdown([line], "omniglot", published=False)


def test_an_automatic_inner_rate_has_a_row_of_its_own_and_other_rates_have_none(monkeypatch):
    evaluations = []
    for rate, accuracy in ((0.3, 0.97), ("auto", 0.99), (0.1, 0.5)):
        settings = {
            **{"data": "omniglot", "data.way": 5, "data.shot": 1, "wrapper": "none"},
            **{"inner.learning_rate": rate, "adapt": ()},
        }
        kept_record = {**record(0, accuracy), "settings": settings}
        changed = set() if rate == 0.3 else {"inner.learning_rate"}
        evaluations.append(kept_runs.Kept("all", kept_record, changed))
    monkeypatch.setattr(kept_runs, "evaluations", lambda folder: evaluations)
    automatic_line, own_line = tables.lines(list(tables.read(pathlib.Path("runs"))))
    assert (automatic_line.mode, automatic_line.accuracy) == (
        "transductive, automatic inner rate",
        99.0,
    )
    assert (own_line.mode, own_line.accuracy, len(own_line.records)) == ("transductive", 97.0, 1)


def test_the_hours_are_those_of_the_features_too(runs):
    for seed in "01":
        for number in (1, 2):
            file = runs / "head" / seed / keep_run.FEATURES.format(number)
            file.write_text(json.dumps(record(int(seed), 0.1)))
    line, _ = tables.lines(list(tables.read(runs)))
    assert "| 500 | 6.00 | 99.30 ± 0.21 |" in tables.markdown([line], "omniglot")


def test_training_statistics_are_a_mode_of_their_own(runs):
    for seed, transductive in ((0, False), (1, True)):  # the second one of centered features
        new_record = record(seed, 0.8, way=5, statistics="training", transductive=transductive)
        file = runs / "head" / str(seed) / "evaluation_test_way=5_statistics=training.json"
        file.write_text(json.dumps(new_record))
    first_line, transductive_line, inductive_line, _ = tables.lines(list(tables.read(runs)))
    assert (first_line.mode, len(first_line.records)) == ("transductive", 2)
    assert transductive_line.mode == "transductive, training statistics"
    assert inductive_line.mode == "non-transductive, training statistics"
    assert len(transductive_line.records) == len(inductive_line.records) == 1


def test_what_an_evaluation_changed_is_known_by_name(runs):
    changes = [kept.changed for kept in kept_runs.evaluations(runs)]
    way = "data.way"
    each = [{"inner.linear_steps"}, {way}, {way, "inner.steps"}, {way, "data.shot"}]
    assert changes == each * 2


def test_a_table_takes_the_place_of_the_one_with_its_name():
    old_text = (
        "text\n<!-- table head: begin -->\nold\n<!-- table head: end -->\nmore\n"
        "<!-- table classifier: begin -->\n<!-- table classifier: end -->\n"
    )
    new_tables = {"head": "new", "classifier": "other", "all_weights": "not in this document"}
    new_text = tables.replaced(old_text, new_tables)
    assert new_text == (
        "text\n<!-- table head: begin -->\n\nnew\n\n<!-- table head: end -->\nmore\n"
        "<!-- table classifier: begin -->\n\nother\n\n<!-- table classifier: end -->\n"
    )
    assert tables.replaced(new_text, new_tables) == new_text


@pytest.mark.parametrize(
    "document",
    [
        "text",
        "<!-- table head: begin -->\n",
        "<!-- table other: begin -->\n<!-- table other: end -->",
        "<!-- table head: begin -->\n<!-- table head: end --> <!-- table head: end -->",
    ],
)
def test_a_document_without_marks_or_with_others_is_refused(document):
    with pytest.raises(ValueError, match="Expected tables between"):
        tables.replaced(document, {"head": "new"})


def test_the_documents_hold_the_tables_of_the_kept_runs():
    root = pathlib.Path(__file__).parents[1]
    new_tables = tables.tables(tables.lines(list(tables.read(root / tables.RUNS))))
    for name in tables.DOCUMENTS:
        document = (root / name).read_text(encoding="utf-8")
        assert tables.replaced(document, new_tables) == document, (
            "run: python -m benchmarks.accuracy.tables"
        )


@pytest.mark.slow
def test_the_program_draws_the_kept_runs_and_what_others_published(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    command = ["-m", "benchmarks.accuracy.tables", "--documents="]
    root = pathlib.Path(__file__).parents[1]
    programs.run([*command, f"--plots={tmp_path}"], check=True, cwd=root)
    for name in ("forest.png", "learning_curves.png", "robustness.png"):
        drawn, kept = (pyplot.imread(path / name) for path in (tmp_path, root / tables.PLOTS))
        assert drawn.shape == kept.shape
        # Fonts may differ: as much is drawn.
        assert abs(np.mean(drawn[..., :3] < 0.9) / np.mean(kept[..., :3] < 0.9) - 1) < 0.1


def test_runs_are_grouped_by_the_adapted_weights(runs):
    def group_of(adapt, steps):
        new_record = {**record(0, 0.5, adapt=adapt), "steps": steps}
        return Line(ROWS[0], "run", "transductive", [new_record]).adapted

    assert group_of(["head"], 500) == "head"
    assert group_of([], 500) == group_of(["conv_4", "head"], 500) == "all_weights"
    assert group_of(["head"], 0) == "classifier"
    assert group_of([], 0) == "classifier_all_weights"


def test_recipes_are_chosen_by_their_seeds_and_not_by_their_accuracy():
    def line(recipe, accuracies, row):
        records = [record(seed, accuracy) for seed, accuracy in enumerate(accuracies)]
        return Line(ROWS[row], recipe, "transductive", records)

    lines = [line("best", [0.9], 0), line("often", [0.5, 0.5], 0), line("once", [0.4], 4)]
    assert [result.recipe for result in tables.with_most_seeds(lines)] == ["often", "once"]


@pytest.mark.parametrize(
    ("name", "adapt", "recipes"),
    [("all_weights", [], {"once", "often"}), ("head", ["head"], {"often"})],
)
def test_the_table_of_all_weights_alone_has_recipes_of_fewer_seeds(name, adapt, recipes):
    settings = {"adapt": adapt, "wrapper": "none"}
    seeds_of = {"once": [0], "often": [0, 1]}
    lines = []
    for recipe, seeds in seeds_of.items():
        records = [{**record(seed, 0.5, **settings), "core_hours": 1.0} for seed in seeds]
        lines.append(Line(ROWS[0], recipe, "transductive", records))
    table = tables.tables(lines)[name]
    assert {recipe for recipe in seeds_of if f"| {recipe} |" in table} == recipes


@pytest.mark.parametrize(
    ("data_set", "cells"),
    [("omniglot", (82, 72, 92, 82)), ("mini_imagenet", (82, 72))],
    ids=["omniglot", "mini_imagenet"],
)
def test_runs_of_equal_budget_are_in_the_table_when_all_rows_are(tmp_path, data_set, cells):
    output, shared = tmp_path / data_set, equal_budget.DATA_SETS[data_set]
    for name, seed, accuracy in (("head/maml", 0, 0.90), ("head/maml", 1, 0.94)):
        folder = output / name / str(seed)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(record(seed, accuracy)))
        for way, shot in shared.rows:
            file = equal_budget.evaluation(folder, shared, way, shot)
            lower = 0.1 * (way == 5) + 0.1 * (shot == 5)
            file.write_text(json.dumps(record(seed, accuracy - lower)))
    (output / "all" / "maml" / "0").mkdir(parents=True)
    head, rule, *lines = equal_budget.table(output).splitlines()
    half = 100 * math.sqrt(2 * 0.003**2) / 2
    shown = " | ".join(f"{cell:.2f} ± {half:.2f}" for cell in cells)
    assert lines == [f"| head, maml | 0, 1 | 500 | 1000 | 1800 | {shown} |"]
    assert head.count("|") == rule.count("|") == lines[0].count("|")


@pytest.mark.parametrize("name", list(equal_budget.RUNS))
def test_runs_of_equal_budget_differ_in_the_algorithm_alone(name):
    flags = {flag.partition("=")[0] for flag in equal_budget.RUNS[name]}
    of_tasks = [*equal_budget._TASKS, *equal_budget.DATA_SETS["mini_imagenet"].flags]
    assert not flags & {flag.partition("=")[0] for flag in of_tasks}
    assert flags <= {
        *("--adapt", "--algorithm", "--inner", "--inner.steps", "--inner.learning_rate"),
        *("--algorithm.proximal_strength", "--algorithm.first_order", "--linear"),
    }


def test_a_benchmark_that_is_terminated_ends_what_it_has_started(tmp_path):
    started, code = tmp_path / "started", "from benchmarks.accuracy import equal_budget as e; "
    sleep = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    code += f"e.end_when_terminated(); e.run('timeit', '-n1', '-r1', {sleep!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not (started.exists() and started.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_learning_curve_is_the_mean_of_each_epoch_over_all_continuations(tmp_path):
    for start in (0, 100):  # the second goes on after the first epoch
        with tf.summary.create_file_writer(str(tmp_path), filename_suffix=f".{start}").as_default():
            tf.summary.scalar("adaptation/accuracy", 0.2, step=start + 40)
            tf.summary.scalar("adaptation/accuracy", 0.4, step=start + 80)
            tf.summary.scalar("adaptation/accuracy", 0.8, step=start + 100)
    mean = 0.4 * 0.2 + 0.4 * 0.4 + 0.2 * 0.8
    points = keep_run.learning_curve(tmp_path, steps_per_epoch=100)
    assert points == [(100, pytest.approx(mean)), (200, pytest.approx(mean))]


def test_a_power_law_is_predicted_exactly(tmp_path):
    file = tmp_path / keep_run.CURVE
    rows = [f"{steps},{1 - 0.8 * steps**-0.5}" for steps in (100, 400, 900)]
    file.write_text("\n".join(["steps,accuracy", *rows]))
    curve = result_files.learning_curve(file)
    assert power_law.predicted(curve, 100, 400, 900) == pytest.approx(curve[900])
    assert power_law.predicted(curve, 400, 900, 10000) == pytest.approx(1 - 0.008)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("--features=/home/me/runs/base\n", "--features=base\n"),
        ("--features=base\n", "--features=base\n"),
        ("--filters=64\n", "--filters=64\n"),
        ('{"features": "runs/base", "way": 5}', '{"features": "base", "way": 5}'),
        ('{"features": null}', '{"features": null}'),
    ],
)
def test_what_is_kept_names_no_place(text, kept):
    assert keep_run.without_place(text) == kept


@pytest.mark.slow
def test_a_run_is_kept_with_the_results_of_those_that_it_began_with(tmp_path):
    first, before, run = (tmp_path / name for name in ("first", "before", "run"))
    settings = {"steps_per_epoch": 100}
    for folder, accuracy, features in (
        (first, 0.4, None),
        (before, 0.5, first),
        (run, 0.9, before),
    ):
        folder.mkdir()
        result = record(3, accuracy, features=features and str(features), **settings)
        (folder / "result.json").write_text(json.dumps(result))
    (run / "flags.txt").write_text(f"--data_dir=data\n--features={before}\n--way=20\n")
    flags = [f"--run_dir={run}", f"--runs={tmp_path / 'kept'}", "--recipe=head"]
    programs.run(["-m", "benchmarks.accuracy.keep_run", *flags], check=True)
    kept = tmp_path / "kept" / "head" / "3"
    assert (kept / "flags.txt").read_text() == "--features=before\n--way=20\n"
    results = [json.loads((kept / keep_run.FEATURES.format(n)).read_text()) for n in (1, 2)]
    assert [result["accuracy"] for result in results] == [0.5, 0.4]
    assert results[0]["settings"]["features"] == "first"
    assert json.loads((kept / "result.json").read_text())["settings"]["features"] == "before"
