"""Tasks of any size on the command line."""

import json

import pytest

from tests.trainers.commands import call_here, train_here


def succeed(*command):
    process = call_here(*command)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("trainers_of_two_blocks")
def test_tasks_of_any_size_by_flags(tmp_path):
    """Trained, evaluated on others, and a request of one task without its padding."""
    run_dir = tmp_path / "run"
    network = ["--data=glyphs", "--data.classes=12", "--data.image_size=8", "--model.filters=2"]
    sizes = ["--data.way=2,4", "--data.shot=1,3", "--data.query=2", "--data.buckets=2"]
    tasks = ["--tasks_per_step=4", "--inner.steps=2", "--steps_per_epoch=2", "--steps=2"]
    counts = ["--validation_tasks=4", "--test_tasks=4", "--noprobe", f"--run_dir={run_dir}"]
    refused = train_here(*network, *sizes, *tasks, *counts)
    assert refused.returncode and "--data.way=2,4 needs --model.tied_head" in refused.stderr
    succeed("train", *network, *sizes, *tasks, *counts, "--model.tied_head")
    assert json.loads((run_dir / "result.json").read_text())["settings"]["data.shot"] == [1, 3]
    other_sizes = ["--data.way=2,3", "--data.shot=1,100", "--data.query=10", "--tasks=4"]
    succeed("evaluate", f"--run_dir={run_dir}", "--data.sampler=meta_dataset", *other_sizes)
    request = tmp_path / "request.json"
    exported = tmp_path / "model"
    succeed("export", f"--run_dir={run_dir}", f"--output={exported}", f"--request={request}")
    inputs = json.loads(request.read_text())["inputs"]
    labels = inputs["support_y"]
    assert len(labels) == len(inputs["support_x"]) <= 12 and set(labels) >= {0, 1}
