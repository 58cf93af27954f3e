"""Checkpoints: what they hold, and what happens when they cannot be read or written."""

import numpy as np
import pytest

import keras_imaml as ki
from tests.callbacks.sinusoid_runs import learner, tasks


def variables(meta_learner):
    return [v.numpy() for v in (*meta_learner.variables, *meta_learner.optimizer.variables)]


def train(meta_learner, checkpoints, step, steps):
    meta_learner.fit(tasks(step), steps_per_epoch=steps, verbose=0, callbacks=[checkpoints])


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path):
    uninterrupted_learner = learner()
    train(
        uninterrupted_learner,
        ki.callbacks.Checkpoints(uninterrupted_learner, str(tmp_path / "whole")),
        0,
        6,
    )

    interrupted_learner = learner()
    train(
        interrupted_learner,
        ki.callbacks.Checkpoints(interrupted_learner, str(tmp_path / "parts")),
        0,
        4,
    )
    resumed_learner = learner(seed=1)
    checkpoints = ki.callbacks.Checkpoints(resumed_learner, str(tmp_path / "parts"))
    assert checkpoints.restore() == 4
    train(resumed_learner, checkpoints, 4, 2)
    for expected, received in zip(
        variables(uninterrupted_learner), variables(resumed_learner), strict=True
    ):
        np.testing.assert_array_equal(received, expected)


def test_nothing_to_restore_is_step_zero(tmp_path):
    assert ki.callbacks.Checkpoints(learner(), str(tmp_path / "none")).restore() == 0


@pytest.mark.slow
def test_seconds_add_up_over_runs(tmp_path):
    first_learner = learner()
    checkpoints = ki.callbacks.Checkpoints(first_learner, str(tmp_path))
    train(first_learner, checkpoints, 0, 2)
    first_seconds = float(checkpoints.seconds)
    assert first_seconds > 0
    resumed_learner = learner()
    resumed_checkpoints = ki.callbacks.Checkpoints(resumed_learner, str(tmp_path))
    resumed_checkpoints.restore()
    assert float(resumed_checkpoints.seconds) == first_seconds
    train(resumed_learner, resumed_checkpoints, 2, 2)
    assert float(resumed_checkpoints.seconds) > first_seconds


@pytest.mark.slow
def test_only_the_newest_are_kept(tmp_path):
    meta_learner = learner()
    checkpoints = ki.callbacks.Checkpoints(meta_learner, str(tmp_path), keep=2)
    meta_learner.fit(tasks(), steps_per_epoch=1, epochs=4, verbose=0, callbacks=[checkpoints])
    assert sorted(p.stem for p in tmp_path.glob("*.index")) == ["ckpt-3", "ckpt-4"]


@pytest.mark.slow
def test_saving_twice_at_one_step_writes_once(tmp_path):
    meta_learner = learner()
    checkpoints = ki.callbacks.Checkpoints(meta_learner, str(tmp_path))
    train(meta_learner, checkpoints, 0, 1)
    before = (tmp_path / "ckpt-1.index").stat().st_mtime_ns
    assert checkpoints.save().endswith("ckpt-1")
    assert (tmp_path / "ckpt-1.index").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden": (9,)},
        pytest.param({"hidden": (8, 8)}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "sgd"}, marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_of_another_learner_is_refused(tmp_path, arguments):
    meta_learner = learner()
    train(meta_learner, ki.callbacks.Checkpoints(meta_learner, str(tmp_path)), 0, 1)
    with pytest.raises(ValueError, match="does not fit this learner.*Received.*ckpt-1"):
        ki.callbacks.Checkpoints(learner(**arguments), str(tmp_path)).restore()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path):
    meta_learner = learner()
    checkpoints = ki.callbacks.Checkpoints(meta_learner, str(tmp_path))
    train(meta_learner, checkpoints, 0, 1)
    first_variables = variables(meta_learner)
    train(meta_learner, checkpoints, 1, 1)
    second_variables = variables(meta_learner)
    with open(tmp_path / "ckpt-2.data-00000-of-00001", "r+b") as stream:
        stream.truncate(100)
    resumed_learner = learner(seed=1)
    with pytest.raises(OSError, match=r"ckpt-2 is damaged. Delete its files, .*ckpt-2\.\*"):
        ki.callbacks.Checkpoints(resumed_learner, str(tmp_path)).restore()
    for file in tmp_path.glob("ckpt-2.*"):
        file.unlink()
    resumed_checkpoints = ki.callbacks.Checkpoints(resumed_learner, str(tmp_path))
    assert resumed_checkpoints.restore() == 1
    for expected, received in zip(first_variables, variables(resumed_learner), strict=True):
        np.testing.assert_array_equal(received, expected)
    train(resumed_learner, resumed_checkpoints, 1, 1)
    last_learner = learner(seed=2)
    assert ki.callbacks.Checkpoints(last_learner, str(tmp_path)).restore() == 2
    for expected, received in zip(second_variables, variables(last_learner), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    meta_learner = learner()
    with pytest.raises(OSError, match="file"):
        train(meta_learner, ki.callbacks.Checkpoints(meta_learner, str(file / "checkpoints")), 0, 1)
    assert int(meta_learner.optimizer.iterations) == 0
