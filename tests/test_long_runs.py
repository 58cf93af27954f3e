"""The queue of long runs knows what is done and what is left."""

import json
import pathlib

import pytest

from benchmarks.paper import long_runs
from trainers import parsing, train

PRESETS = pathlib.Path(__file__).parents[1] / "trainers" / "presets"


@pytest.mark.parametrize("name", long_runs.RUNS)
def test_every_run_has_a_preset(name, tmp_path):
    words = long_runs.command(name, 3, tmp_path, str(tmp_path))
    folder = long_runs.folder_of(name, 3, tmp_path)
    assert (PRESETS / f"{long_runs.RUNS[name].preset}.flags").exists()
    command = parsing.parse(train.PROGRAM, [*words[words.index("trainers.train") + 1 :]])
    assert not any("old names" in note for note in command.notes)
    assert {"--seed=3", f"--run_dir={folder}", f"--data_dir={tmp_path}"} <= set(words)
    features = long_runs.RUNS[name].features
    begun_with = [f"--features={long_runs.folder_of(features, 3, tmp_path)}"] if features else []
    assert [word for word in words if "--features" in word] == begun_with


def test_progress_is_read_from_the_folder_of_a_run(tmp_path):
    assert long_runs.progress(tmp_path) == (0, False)
    (tmp_path / "checkpoints").mkdir()
    text = 'model_checkpoint_path: "ckpt-300"\nall_model_checkpoint_paths: "ckpt-200"\n'
    (tmp_path / "checkpoints" / "checkpoint").write_text(text)
    assert long_runs.progress(tmp_path) == (300, False)
    (tmp_path / "result.json").write_text("{}")
    assert long_runs.progress(tmp_path) == (300, True)


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_that_is_stopped_ends_the_queue(ends, tmp_path, monkeypatch):
    name, started = next(iter(long_runs.RUNS)), []
    folder = tmp_path / name / "seed_0"
    folder.mkdir(parents=True)

    def run(words, check):
        started.append(words)
        if ends:
            (folder / "result.json").write_text("{}")

    monkeypatch.setattr(long_runs.subprocess, "run", run)
    if ends:
        for _ in range(2):
            long_runs.train(name, 0, tmp_path, "data")
    else:
        with pytest.raises(SystemExit, match="was stopped after 0 of 15000 steps"):
            long_runs.train(name, 0, tmp_path, "data")
    assert len(started) == 1


def test_the_table_has_the_steps_or_the_result_of_each_run(tmp_path):
    folder = tmp_path / "omniglot_5way_1shot" / "newton_cg" / "seed_0"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"accuracy": 0.99, "ci95": 0.001}))
    lines = long_runs.table(tmp_path, [0]).splitlines()
    assert len(lines) == len(long_runs.RUNS)
    assert lines[0].endswith("0 of 15000 steps") and lines[1].endswith("ended: 99.00 ± 0.10 %")
