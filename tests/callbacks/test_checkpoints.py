"""Checkpoints: what they hold, and what happens when they cannot be read or written."""

import numpy as np
import pytest

import keras_imaml as ki
from tests.callbacks.sinusoid_runs import learner, tasks


def variables(made):
    return [v.numpy() for v in (*made.variables, *made.optimizer.variables)]


def train(made, checkpoints, step, steps):
    made.fit(tasks(step), steps_per_epoch=steps, verbose=0, callbacks=[checkpoints])


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path):
    whole = learner()
    train(whole, ki.callbacks.Checkpoints(whole, str(tmp_path / "whole")), 0, 6)

    first = learner()
    train(first, ki.callbacks.Checkpoints(first, str(tmp_path / "parts")), 0, 4)
    second = learner(seed=1)
    checkpoints = ki.callbacks.Checkpoints(second, str(tmp_path / "parts"))
    assert checkpoints.restore() == 4
    train(second, checkpoints, 4, 2)
    for expected, received in zip(variables(whole), variables(second), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_nothing_to_restore_is_step_zero(tmp_path):
    assert ki.callbacks.Checkpoints(learner(), str(tmp_path / "none")).restore() == 0


@pytest.mark.slow
def test_seconds_add_up_over_runs(tmp_path):
    made = learner()
    checkpoints = ki.callbacks.Checkpoints(made, str(tmp_path))
    train(made, checkpoints, 0, 2)
    spent = float(checkpoints.seconds)
    assert spent > 0
    again = learner()
    resumed = ki.callbacks.Checkpoints(again, str(tmp_path))
    resumed.restore()
    assert float(resumed.seconds) == spent
    train(again, resumed, 2, 2)
    assert float(resumed.seconds) > spent


@pytest.mark.slow
def test_only_the_newest_are_kept(tmp_path):
    made = learner()
    checkpoints = ki.callbacks.Checkpoints(made, str(tmp_path), keep=2)
    made.fit(tasks(), steps_per_epoch=1, epochs=4, verbose=0, callbacks=[checkpoints])
    assert sorted(p.stem for p in tmp_path.glob("*.index")) == ["ckpt-3", "ckpt-4"]


@pytest.mark.slow
def test_saving_twice_at_one_step_writes_once(tmp_path):
    made = learner()
    checkpoints = ki.callbacks.Checkpoints(made, str(tmp_path))
    train(made, checkpoints, 0, 1)
    before = (tmp_path / "ckpt-1.index").stat().st_mtime_ns
    assert checkpoints.save().endswith("ckpt-1")
    assert (tmp_path / "ckpt-1.index").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "other",
    [
        {"hidden": (9,)},
        pytest.param({"hidden": (8, 8)}, marks=pytest.mark.slow),
        {"optimizer": "sgd"},
    ],
)
def test_a_checkpoint_of_another_learner_is_refused(tmp_path, other):
    made = learner()
    train(made, ki.callbacks.Checkpoints(made, str(tmp_path)), 0, 1)
    with pytest.raises(ValueError, match="does not fit this learner.*Received.*ckpt-1"):
        ki.callbacks.Checkpoints(learner(**other), str(tmp_path)).restore()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path):
    made = learner()
    checkpoints = ki.callbacks.Checkpoints(made, str(tmp_path))
    train(made, checkpoints, 0, 1)
    one = variables(made)
    train(made, checkpoints, 1, 1)
    two = variables(made)
    with open(tmp_path / "ckpt-2.data-00000-of-00001", "r+b") as stream:
        stream.truncate(100)
    again = learner(seed=1)
    with pytest.raises(OSError, match=r"ckpt-2 is damaged. Delete its files, .*ckpt-2\.\*"):
        ki.callbacks.Checkpoints(again, str(tmp_path)).restore()
    for file in tmp_path.glob("ckpt-2.*"):
        file.unlink()
    resumed = ki.callbacks.Checkpoints(again, str(tmp_path))
    assert resumed.restore() == 1
    for expected, received in zip(one, variables(again), strict=True):
        np.testing.assert_array_equal(received, expected)
    train(again, resumed, 1, 1)
    last = learner(seed=2)
    assert ki.callbacks.Checkpoints(last, str(tmp_path)).restore() == 2
    for expected, received in zip(two, variables(last), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    made = learner()
    with pytest.raises(OSError, match="file"):
        train(made, ki.callbacks.Checkpoints(made, str(blocked / "checkpoints")), 0, 1)
    assert int(made.optimizer.iterations) == 0
