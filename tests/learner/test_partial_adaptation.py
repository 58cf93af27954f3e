"""The benchmark of parts of a transformer, on a tiny one."""

import subprocess
import sys

import pytest

from benchmarks.machine import ROOT
from tests import programs

TINY = ["--blocks=1", "--width=64", "--vocabulary=50", "--length=4", "--inner_steps=1"]


@pytest.mark.slow
def test_every_part_is_measured():
    command = ["-m", "benchmarks.cost.partial_adaptation", *TINY, "--repeats=1"]
    process = programs.run([*command, "--adapt=head,lora_merged"], cwd=ROOT, shortcuts=True)
    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("| ")]
    rows = [line.split("|")[1:-1] for line in lines[1:]]
    assert [row[0].strip() for row in rows] == ["head", "lora_merged"]
    adapted = [int(row[2].replace(",", "")) for row in rows]
    assert adapted == [130, 1024]
    assert all(float(row[-1]) > 0 for row in rows)


@pytest.mark.slow
def test_a_backbone_of_keras_hub_adapts():
    pytest.importorskip("keras_hub")
    command = ["-m", "benchmarks.cost.partial_adaptation", *TINY, "--repeats=1"]
    process = programs.run(
        [*command, "--adapt=norm", "--encoder=keras_hub"], cwd=ROOT, shortcuts=True
    )
    assert process.returncode == 0, process.stderr
    assert "| norm |" in process.stdout


def test_unknown_parts_are_refused():
    command = [sys.executable, "-m", "benchmarks.cost.partial_adaptation", "--adapt=feet"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode != 0 and "Received: ['feet']" in process.stdout + process.stderr
