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

from tests import programs
from tests.programs import Program
from tests.trainers.commands import ROOT, call, command, train_here

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
    "--data.classes=12",
    "--data.image_size=14",
    "--data.way=3",
    "--data.query=3",
    "--tasks_per_step=4",
    "--model.filters=2",
    "--inner.steps=2",
    "--inner.learning_rate=0.1",
    "--linear_steps=2",
    "--steps=4",
    "--steps_per_epoch=4",
    "--validation_tasks=0",
    "--test_tasks=2",
    "--noprobe",
    "--distribution=mirrored",
    "--devices=2",
    "--deterministic",
]


# Trains, and waits a second instead of half a minute for a file that no one writes.
IMPATIENT = """
import functools, keras_imaml as ki
from trainers import train
check = ki.Workers.check_folder
ki.Workers.check_folder = functools.partialmethod(check, patience=1.0)
train.main()
"""


# Trains a network of two blocks, and writes no SavedModel, which takes seconds.
WITHOUT_EXPORT = f"""{programs.TWO_BLOCKS}
import keras_imaml as ki
from trainers import train
ki.MetaLearner.export = lambda *_, **__: None
train.main()
"""


def train_to_the_end(*flags, shortcuts=True):
    process = programs.run(["-c", WITHOUT_EXPORT, *flags], cwd=ROOT, shortcuts=shortcuts)
    assert process.returncode == 0, process.stderr
    return process


def start(*flags, program=None):
    words = ["-c", program, *flags] if program else command("train", *flags)
    return Program(words, cwd=ROOT, stderr=subprocess.STDOUT, shortcuts=True)


def fill_the_disk():
    """No file may grow beyond this size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def read_until(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"ended without {words!r}")


def newest(run):
    return tf.train.latest_checkpoint(str(run / "checkpoints"))


def weights(run):
    """The variables of the newest checkpoint, by name; no clocks."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
    return {name: reader.get_tensor(name) for name in names}


def assert_equal_to_the_bit(folder, other_folder):
    first, second = weights(folder), weights(other_folder)
    assert first and set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture
def cluster():
    """`--workers` of two free ports, and an end to whatever was started."""
    sockets = [socket.socket() for _ in range(2)]
    for connection in sockets:
        connection.bind(("127.0.0.1", 0))
    workers = ",".join(f"127.0.0.1:{connection.getsockname()[1]}" for connection in sockets)
    for connection in sockets:
        connection.close()
    processes = []

    def launch(*flags, worker_flags=((), ()), program=None):
        shared = ["--distribution=multi_worker", f"--workers={workers}", *flags]
        started = [
            start(*shared, f"--worker_index={i}", *worker_flags[i], program=program) for i in (0, 1)
        ]
        processes.extend(started)
        return started

    yield launch
    for process in processes:
        process.kill()


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path):
    """Killed, asked to end, and started again each time."""
    flags = [*SINES, "--steps=300"]
    train_to_the_end(f"--run_dir={tmp_path / 'straight'}", *flags)
    broken = f"--run_dir={tmp_path / 'broken'}"
    process = start(broken, *flags)
    read_until(process, "ms/step")
    time.sleep(random.Random(0).uniform(0.0, 0.3))
    process.kill()
    assert process.wait() == -signal.SIGKILL  # it had not come to its end
    process = start(broken, *flags)
    read_until(process, "Resuming from step")
    read_until(process, "ms/step")
    process.terminate()
    output = process.stdout.read()
    assert process.wait(60) == 0
    step = int(output.split("Interrupted at step ")[1].split(",")[0])
    assert 20 <= step < 300
    last = train_to_the_end(broken, *flags)
    assert f"Resuming from step {step}" in last.stdout
    assert_equal_to_the_bit(tmp_path / "straight", tmp_path / "broken")
    results = [
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("straight", "broken")
    ]
    assert results[0]["loss"] == results[1]["loss"]


@pytest.mark.slow
def test_other_workers_end_when_a_worker_dies_and_a_relaunch_resumes(tmp_path, cluster):
    """Each of two workers dies once, and the second is asked to end once."""
    flags = [f"--run_dir={tmp_path}", *SINES, "--steps=100000"]
    step = 0
    for index in (1, 0):
        processes = cluster(*flags)
        if step:
            read_until(processes[0], f"Resuming from step {step}")
        read_until(processes[0], "Epoch 2" if not step else "ms/step")
        processes[index].kill()
        survivor = processes[1 - index]
        output, _ = survivor.communicate(timeout=120)
        assert survivor.returncode == 2
        assert "Another worker has ended" in output.strip().splitlines()[-1], output
        step = int(newest(tmp_path).rpartition("-")[2])
    processes = cluster(*flags)
    read_until(processes[0], "ms/step")
    processes[1].terminate()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert f"Resuming from step {step}" in outputs[1]
    steps = [int(output.split("Interrupted at step ")[1].split(",")[0]) for output in outputs]
    assert steps[0] == steps[1] >= step + 20
    assert newest(tmp_path).endswith(f"-{steps[0]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worker_flags", "message"),
    [
        ((["--seed=3"], ["--seed=4"]), "The workers have different settings"),
        ((["--run_dir={}/a"], ["--run_dir={}/b"]), "The workers see different folders"),
    ],
)
def test_workers_that_do_not_belong_together_are_refused(tmp_path, cluster, worker_flags, message):
    worker_flags = [[flag.format(tmp_path) for flag in flags] for flags in worker_flags]
    processes = cluster(
        f"--run_dir={tmp_path}", *SINES, "--steps=100", worker_flags=worker_flags, program=IMPATIENT
    )
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    for output in outputs:
        # Whichever ends first, the other may only see that it is gone.
        assert message in output or "Another worker has ended" in output
    assert any(message in output for output in outputs)


@pytest.mark.slow
def test_deterministic_runs_are_equal_to_the_bit(tmp_path):
    """With all threads."""
    for name in ("first", "second"):
        train_to_the_end(f"--run_dir={tmp_path / name}", *GLYPHS, shortcuts=False)
    assert_equal_to_the_bit(tmp_path / "first", tmp_path / "second")


@pytest.mark.slow
def test_a_full_disk_is_named_and_earlier_checkpoints_stay(tmp_path):
    flags = [f"--run_dir={tmp_path}", *SINES]
    assert train_here(*flags, "--steps=20").returncode == 0
    before = weights(tmp_path)

    full = call("train", *flags, "--steps=40", preexec_fn=fill_the_disk)
    assert full.returncode == 2
    assert "is the disk full" in full.stderr.strip().splitlines()[-1]
    after = weights(tmp_path)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])
    second_process = train_here(*flags, "--steps=40")
    assert second_process.returncode == 0, second_process.stderr
    assert "Resuming from step 20" in second_process.stdout
