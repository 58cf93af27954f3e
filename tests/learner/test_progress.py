"""The progress bar shows the loss and the metrics, and no diagnostics."""

import signal

import keras
import pytest

import keras_imaml as ki
from tests.callbacks.sinusoid_runs import learner, tasks


@pytest.mark.slow
def test_diagnostics_are_in_the_history_and_not_on_the_bar(capsys):
    meta_learner = learner()
    history = meta_learner.fit(
        tasks(), steps_per_epoch=2, validation_data=tasks(), validation_steps=1, verbose=1
    )
    shown = capsys.readouterr().out
    assert "loss:" in shown
    assert "val_loss:" in shown
    for name in ("inner_residual", "linear_residual", "bad_tasks"):
        assert name in history.history
        assert name not in shown


@pytest.mark.slow
def test_quiet_is_quiet(capsys):
    learner().fit(tasks(), steps_per_epoch=1, verbose=0)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_line_an_epoch(capsys):
    learner().fit(tasks(), steps_per_epoch=2, epochs=2, verbose=2)
    assert capsys.readouterr().out.count("loss:") == 2


@pytest.mark.slow
@pytest.mark.parametrize("by_signal", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_bar_of_an_epoch_that_is_cut_short_says_how_far_it_came(capsys, by_signal):
    class StopAt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1 and by_signal:
                signal.raise_signal(signal.SIGTERM)
            elif batch == 1:
                self.model.stop_training = True

    stop = ki.callbacks.StopOnSignal()
    learner().fit(tasks(), steps_per_epoch=5, verbose=1, callbacks=[StopAt(), stop])
    shown = capsys.readouterr().out
    assert stop.received == by_signal
    assert "2/5" in shown
    assert "5/5" not in shown
