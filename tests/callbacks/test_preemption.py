"""A signal ends training after the current meta-step."""

import os
import signal

import keras

import keras_imaml as ki
from tests.callbacks.test_checkpoints import learner, tasks


class _SignalAt(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


def test_training_stops_with_a_checkpoint_and_the_signal_is_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    made, stop = learner(), ki.callbacks.StopOnSignal()
    checkpoints = ki.callbacks.Checkpoints(made, str(tmp_path))
    callbacks = [_SignalAt(2), checkpoints, stop]
    made.fit(tasks(), steps_per_epoch=10, epochs=3, verbose=0, callbacks=callbacks)
    assert stop.received
    assert checkpoints.step == 3
    assert (tmp_path / "ckpt-3.index").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_signal_nothing_stops():
    made, stop = learner(), ki.callbacks.StopOnSignal()
    made.fit(tasks(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=[stop])
    assert not stop.received
    assert int(made.optimizer.iterations) == 4
