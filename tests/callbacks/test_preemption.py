"""A signal ends training after the current meta-step."""

import os
import signal
import threading

import keras
import pytest

import keras_imaml as ki
from tests.callbacks.sinusoid_runs import learner, tasks


class _SignalAt(keras.callbacks.Callback):
    def __init__(self, batch, number, times=1):
        super().__init__()
        self.batch, self.number, self.times = batch, number, times

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.batch:
            for _ in range(self.times):
                signal.raise_signal(self.number)


pytestmark = pytest.mark.usefixtures("interrupts")
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_training_stops_with_a_checkpoint_and_the_signal_is_given_back(tmp_path, number, capfd):
    before = signal.getsignal(number)
    meta_learner, stop = learner(), ki.callbacks.StopOnSignal(*SIGNALS)
    checkpoints = ki.callbacks.Checkpoints(meta_learner, str(tmp_path))
    callbacks = [_SignalAt(2, number), checkpoints, stop]
    meta_learner.fit(tasks(), steps_per_epoch=10, epochs=3, verbose=0, callbacks=callbacks)
    assert stop.received
    assert checkpoints.step == 3
    assert (tmp_path / "ckpt-3.index").exists()
    assert stop.number == number
    assert signal.getsignal(number) is before
    assert f"{number.name}: ending after this meta-step" in capfd.readouterr().err


@pytest.mark.slow
def test_a_second_ctrl_c_ends_immediately():
    meta_learner, stop = learner(), ki.callbacks.StopOnSignal(signal.SIGINT)
    callbacks = [_SignalAt(1, signal.SIGINT, times=2), stop]
    with pytest.raises(KeyboardInterrupt):
        meta_learner.fit(tasks(), steps_per_epoch=10, verbose=0, callbacks=callbacks)
    assert int(meta_learner.optimizer.iterations) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_second_sigterm_changes_nothing():
    meta_learner, stop = learner(), ki.callbacks.StopOnSignal()
    callbacks = [_SignalAt(1, signal.SIGTERM, times=2), stop]
    meta_learner.fit(tasks(), steps_per_epoch=10, verbose=0, callbacks=callbacks)
    assert stop.received
    assert int(meta_learner.optimizer.iterations) == 2


@pytest.mark.slow
def test_a_fit_that_fails_gives_the_signal_back():
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ValueError("wrong")

    callbacks = [ki.callbacks.StopOnSignal(signal.SIGINT), Failing()]
    with pytest.raises(ValueError, match="wrong"):
        learner().fit(tasks(), steps_per_epoch=2, verbose=0, callbacks=callbacks)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGKILL, 0, [signal.SIGTERM], "SIGTERM"])
def test_what_is_no_signal_to_handle_is_refused(number):
    with pytest.raises(ValueError, match="Expected a signal that a program may handle"):
        ki.callbacks.StopOnSignal(number)


@pytest.mark.slow
def test_a_signal_after_the_last_step_counts():
    class AtTheEnd(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)

    meta_learner, stop = learner(), ki.callbacks.StopOnSignal(signal.SIGINT)
    meta_learner.fit(tasks(), steps_per_epoch=1, verbose=0, callbacks=[AtTheEnd(), stop])
    assert stop.received
    assert meta_learner.stop_training  # a loop of several `fit` ends


def test_in_another_thread_it_is_refused():
    errors = []

    def fit():
        try:
            meta_learner = learner()
            meta_learner.fit(
                tasks(), steps_per_epoch=1, verbose=0, callbacks=[ki.callbacks.StopOnSignal()]
            )
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]


@pytest.mark.slow
def test_without_a_signal_nothing_stops():
    meta_learner, stop = learner(), ki.callbacks.StopOnSignal()
    meta_learner.fit(tasks(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=[stop])
    assert not stop.received
    assert int(meta_learner.optimizer.iterations) == 4


@pytest.mark.slow
def test_in_another_thread_it_works_once_it_was_installed_in_the_main_one():
    before, errors = signal.getsignal(signal.SIGTERM), []
    meta_learner, stop = learner(), ki.callbacks.StopOnSignal()

    def run():
        try:
            meta_learner.fit(tasks(), steps_per_epoch=3, verbose=0, callbacks=[stop])
        except ValueError as error:
            errors.append(str(error))

    def in_thread():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    in_thread()
    assert "stop.hold()` in the main thread" in errors.pop()
    stop.hold()
    signal.raise_signal(signal.SIGTERM)
    in_thread()
    assert not errors
    assert stop.received
    assert int(meta_learner.optimizer.iterations) == 1
    stop.release_signals()
    assert signal.getsignal(signal.SIGTERM) is before
