"""Runs that are killed, asked to end, or lose a worker, the disk or a bit."""

import json
import random
import resource
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.commands import ROOT, call, command

SINES = [
    "--data=sinusoid",
    "--tasks_per_step=4",
    "--inner.steps=2",
    "--inner.learning_rate=0.01",
    "--steps_per_epoch=20",
    "--validation_tasks=0",
    "--test_tasks=8",
    "--noprobe",
    "--verbose=2",
]
GLYPHS = [
    "--data=glyphs",
    "--tasks_per_step=4",
    "--model.filters=8",
    "--inner.steps=2",
    "--steps=6",
    "--steps_per_epoch=3",
    "--validation_tasks=0",
    "--test_tasks=8",
    "--noprobe",
]


def start(*flags):
    return subprocess.Popen(
        command("train", *flags),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )


def read_until(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"ended without {words!r}")


def weights(run):
    """The variables of the newest checkpoint, by name; no clocks."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
    return {name: reader.get_tensor(name) for name in names}


def assert_equal_to_the_bit(one, two):
    first, second = weights(one), weights(two)
    assert first and set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture
def cluster():
    """`--workers` of two free ports, and an end to whatever was started."""
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    workers = ",".join(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    processes = []

    def launch(*flags, own=((), ())):
        shared = ["--distribution=multi_worker", f"--workers={workers}", *flags]
        started = [start(*shared, f"--worker_index={i}", *own[i]) for i in (0, 1)]
        processes.extend(started)
        return started

    yield launch
    for process in processes:
        process.kill()


@pytest.mark.slow
def test_a_run_killed_three_times_ends_with_the_same_bits(tmp_path):
    flags = [*SINES, "--steps=1200"]
    whole = call("train", f"--run_dir={tmp_path / 'whole'}", *flags)
    assert whole.returncode == 0, whole.stderr
    draw = random.Random(0)
    kills = 0
    while kills < 3:
        process = start(f"--run_dir={tmp_path / 'killed'}", *flags)
        read_until(process, "ms/step")
        time.sleep(draw.uniform(0.0, 1.0))
        process.kill()
        assert process.wait() == -signal.SIGKILL  # it had not come to its end
        kills += 1
    last = call("train", f"--run_dir={tmp_path / 'killed'}", *flags)
    assert last.returncode == 0, last.stderr
    assert "Going on from step" in last.stdout
    assert_equal_to_the_bit(tmp_path / "whole", tmp_path / "killed")
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("whole", "killed")]
    assert results[0]["loss"] == results[1]["loss"]


@pytest.mark.slow
def test_sigterm_keeps_a_checkpoint_and_is_no_failure(tmp_path):
    flags = [f"--run_dir={tmp_path}", *SINES, "--steps=100000"]
    process = start(*flags)
    read_until(process, "Epoch 3")
    process.terminate()
    rest = process.stdout.read()
    assert process.wait(60) == 0
    step = int(rest.split("Interrupted at step ")[1].split(",")[0])
    assert step >= 40
    again = call("train", *flags, f"--steps={step + 5}")
    assert again.returncode == 0, again.stderr
    assert f"Going on from step {step}" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_the_others_end_when_a_worker_dies_and_a_relaunch_goes_on(tmp_path, cluster, lost):
    flags = [f"--run_dir={tmp_path}", *SINES]
    processes = cluster(*flags, "--steps=100000")
    read_until(processes[0], "Epoch 4")
    processes[lost].kill()
    other = processes[1 - lost]
    output, _ = other.communicate(timeout=120)
    assert other.returncode == 2
    assert "Another worker has ended" in output.strip().splitlines()[-1]
    step = int(tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).rpartition("-")[2])
    again = cluster(*flags, f"--steps={step + 5}")
    outputs = [process.communicate(timeout=300)[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], outputs
    assert all(f"Going on from step {step}" in output for output in outputs)
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == step + 5


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_sigterm_to_one_worker_ends_all_after_the_same_step(tmp_path, cluster, asked):
    flags = [f"--run_dir={tmp_path}", *SINES]
    processes = cluster(*flags, "--steps=100000")
    read_until(processes[0], "Epoch 4")
    processes[asked].terminate()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    steps = [int(out.split("Interrupted at step ")[1].split(",")[0]) for out in outputs]
    assert steps[0] == steps[1] >= 60
    latest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert latest.endswith(f"-{steps[0]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ((["--seed=3"], ["--seed=4"]), "The workers have different settings"),
        ((["--run_dir={}/a"], ["--run_dir={}/b"]), "The workers see different folders"),
    ],
)
def test_workers_that_do_not_belong_together_are_refused(tmp_path, cluster, own, message):
    own = [[flag.format(tmp_path) for flag in flags] for flags in own]
    processes = cluster(f"--run_dir={tmp_path}", *SINES, "--steps=100", own=own)
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    for output in outputs:
        # Whichever ends first, the other may only see that it is gone.
        assert message in output or "Another worker has ended" in output
    assert any(message in output for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", [[], ["--distribution=mirrored", "--devices=2"]], ids=["one", "two"]
)
def test_deterministic_runs_are_equal_to_the_bit(tmp_path, where):
    for name in ("first", "second"):
        made = call("train", f"--run_dir={tmp_path / name}", *GLYPHS, *where, "--deterministic")
        assert made.returncode == 0, made.stderr
    assert_equal_to_the_bit(tmp_path / "first", tmp_path / "second")


@pytest.mark.slow
def test_a_full_disk_is_named_and_earlier_checkpoints_stay(tmp_path):
    flags = [f"--run_dir={tmp_path}", *SINES]
    assert call("train", *flags, "--steps=20").returncode == 0
    before = weights(tmp_path)

    def fill():  # no file may grow beyond this size
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    full = call("train", *flags, "--steps=40", preexec_fn=fill)
    assert full.returncode == 2
    assert "is the disk full" in full.stderr.strip().splitlines()[-1]
    after = weights(tmp_path)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])
    again = call("train", *flags, "--steps=40")
    assert again.returncode == 0, again.stderr
    assert "Going on from step 20" in again.stdout
