"""A learner works with the callbacks that Keras users are used to."""

import csv
import pathlib

import keras
import numpy as np
import pytest

from tests import learners

EPOCHS, STEPS = 3, 2


def small(**settings):
    flat = keras.layers.Flatten()
    network = keras.Sequential([keras.Input((8, 8, 1)), flat, keras.layers.Dense(3, name="head")])
    return learners.compiled(network, learners.imaml(steps=1), **settings)


def fitted(callbacks, **settings):
    learner = small(**settings)
    data = learners.dataset(learners.images(tasks=2))
    validation = learners.dataset(learners.images(tasks=2, seed=1))
    history = learner.fit(
        data,
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        validation_data=validation,
        validation_steps=1,
        callbacks=callbacks,
        verbose=0,
    )
    return learner, history.history


def predictions(learner):
    (support_x, support_y), (query_x, _) = learners.images(tasks=1, seed=2)
    return learner.adapt_and_predict(support_x[0], support_y[0], query_x[0]).numpy()


def best_is_kept(folder, save_weights_only):
    suffix = ".weights.h5" if save_weights_only else ".keras"
    file = str(folder / f"best{suffix}")
    callback = keras.callbacks.ModelCheckpoint(
        file, monitor="val_loss", save_best_only=True, save_weights_only=save_weights_only
    )
    epochs = {}
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs.update({epoch: predictions(note.model)})
    )
    _, history = fitted([note, callback])
    if save_weights_only:
        restored_model = small()
        restored_model.load_weights(file)
    else:
        restored_model = keras.saving.load_model(file)
    best = int(np.argmin(history["val_loss"]))
    np.testing.assert_allclose(predictions(restored_model), epochs[best], rtol=1e-4, atol=1e-5)


def model_checkpoint(folder):
    best_is_kept(folder, save_weights_only=False)


def model_checkpoint_of_weights(folder):
    best_is_kept(folder, save_weights_only=True)


def early_stopping_restores(folder):
    start = {}
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: start.setdefault("weights", note.model.get_weights())
    )
    stop = keras.callbacks.EarlyStopping(
        "val_loss", min_delta=1e6, patience=1, restore_best_weights=True
    )
    learner, history = fitted([note, stop])
    assert len(history["loss"]) == 2  # the second epoch is not better by as much as that
    for first, last in zip(start["weights"], learner.get_weights(), strict=True):
        np.testing.assert_array_equal(first, last)


def reduce_on_plateau(folder):
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, min_delta=1e6, patience=1)
    learner, _ = fitted([plateau], rate=0.4)
    assert float(learner.optimizer.learning_rate) == pytest.approx(0.1)


class Interrupted(Exception):
    """A machine that is switched off."""


def backup_and_restore(folder):
    """What was interrupted after an epoch ends like what was not."""

    def fail(epoch, logs):
        if epoch == 1:
            raise Interrupted

    keras.utils.set_random_seed(0)
    uninterrupted_model, _ = fitted([])
    keras.utils.set_random_seed(0)
    backup = lambda: keras.callbacks.BackupAndRestore(str(folder / "backup"))  # noqa: E731
    with pytest.raises(Interrupted):
        fitted([backup(), keras.callbacks.LambdaCallback(on_epoch_begin=fail)])
    resumed_model, history = fitted([backup()])
    assert len(history["loss"]) == EPOCHS - 1
    assert int(resumed_model.optimizer.iterations) == EPOCHS * STEPS
    for weight, expected in zip(
        resumed_model.get_weights(), uninterrupted_model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def scheduler_logger_and_terminate_on_nan(folder):
    file = pathlib.Path(folder / "log.csv")
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (1 + epoch))
    logger = keras.callbacks.CSVLogger(str(file))
    _, history = fitted([schedule, logger, keras.callbacks.TerminateOnNaN()])
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.05, 0.1 / 3], rtol=1e-6)
    assert len(history["loss"]) == EPOCHS
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == EPOCHS
    for name in ("loss", "accuracy", "val_loss", "inner_residual", "bad_tasks"):
        np.testing.assert_allclose([float(r[name]) for r in rows], history[name], rtol=1e-5)


def swap_ema_weights(folder):
    optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5)
    learner, history = fitted([keras.callbacks.SwapEMAWeights()], optimizer=optimizer)
    assert np.isfinite(predictions(learner)).all()


CASES = [
    model_checkpoint,
    model_checkpoint_of_weights,
    early_stopping_restores,
    reduce_on_plateau,
    backup_and_restore,
    scheduler_logger_and_terminate_on_nan,
    swap_ema_weights,
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_callbacks_of_keras(case, tmp_path):
    keras.utils.set_random_seed(0)
    case(tmp_path)
