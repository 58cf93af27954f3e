"""Checkpoints of a training run, from which it resumes."""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.keras_attributes import step_counter
from keras_imaml._utils.validation import check_folder_name, check_integer
from keras_imaml.distribution import is_chief
from keras_imaml.distribution.workers import Workers

_OTHER = (
    "The checkpoint does not fit this learner. Expected one of the same network, algorithm and "
    "optimizer: use another folder, or the settings it was made with. Received: {}"
)


class Checkpoints(keras.callbacks.Callback):
    """Save a learner and its optimizer at the end of every epoch, and restore the newest.

    Writes are atomic: an interrupted write leaves the earlier checkpoints intact. A checkpoint also
    holds the number of meta-steps and the seconds of training. On several machines the first one
    writes, and all of them must be able to read the folder.

    Args:
        learner: A compiled `keras_imaml.MetaLearner`.
        directory: The folder of the checkpoints. It is created if missing.
        keep: How many checkpoints to keep. Defaults to `2`.

    Example:

    ```python
    learner = ki.MetaLearner(ki.models.MLP(1), ki.MAML())
    learner.compile(optimizer="adam", loss="mse")
    checkpoints = ki.callbacks.Checkpoints(learner, "runs/mine/checkpoints")
    step = checkpoints.restore()                      # 0 in a new folder
    tasks = ki.data.sinusoid("train", start=16 * step).batch(16)
    learner.fit(tasks, steps_per_epoch=10, epochs=3, initial_epoch=step // 10,
                callbacks=[checkpoints])
    ```
    """

    def __init__(self, learner: Any, directory: str, keep: int = 2) -> None:
        super().__init__()
        check_integer("keep", keep, minimum=1)
        directory = check_folder_name("directory", directory)
        if not getattr(learner, "compiled", False):
            raise ValueError(
                "Invalid value for `learner`. Expected a compiled keras_imaml.MetaLearner: its "
                f"optimizer belongs to a checkpoint. Received: learner={learner!r}"
            )
        self.learner = learner
        self.workers = Workers(learner.distribute_strategy)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._since = time.monotonic()
        self._parts = {"variables": _Variables(learner), "seconds": self.seconds}
        draws = learner.random_streams.unseeded.state.value
        checkpoint = tf.train.Checkpoint(**self._parts, draws=draws)
        self.manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=keep)

    @property
    def step(self) -> int:
        """Number of meta-steps of the learner so far."""
        return int(step_counter(self.learner.optimizer).numpy())

    def restore(self) -> int:
        """Restore the newest checkpoint, if there is one.

        Returns:
            The number of meta-steps so far.

        Raises:
            ValueError: If the checkpoint is of another network or optimizer, or the workers see
                different folders.
            OSError: If a file of the checkpoint is damaged. Delete its files to use the checkpoint
                before it.
        """
        newest = self.newest()
        if newest:
            self._restore(newest)
        self._since = time.monotonic()
        self.workers.check_folder(self.manager.directory)
        self.workers.check_same("checkpoints", f"step {self.step} of {self.manager.directory}")
        return self.step

    def save(self) -> str:
        """Write a checkpoint now, unless there is one of this step; return its path.

        Only the first worker writes. The others return an empty path.
        """
        if not is_chief(self.learner.distribute_strategy):
            return ""
        newest = self.newest()
        if newest and newest.endswith(f"-{self.step}"):
            return newest
        if not all(np.isfinite(v.numpy()).all() for v in self.learner.trainable_variables):
            raise ValueError(
                f"No checkpoint of step {self.step} was written: weights are NaN or infinite. "
                f"Earlier ones in {self.manager.directory!r} are as they were. Lower the outer "
                "learning rate, or clip the meta-gradient (`global_clipnorm`)."
            )
        end = time.monotonic()
        self.seconds.assign_add(end - self._since)
        self._since = end
        try:
            return self.manager.save(checkpoint_number=self.step)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"Could not write a checkpoint to {self.manager.directory!r}: is the disk full, "
                "or the folder read-only? Earlier checkpoints are as they were."
            ) from error

    def newest(self) -> str | None:
        """The path of the newest complete checkpoint, or None."""
        complete = (path for path in reversed(self.manager.checkpoints) if _exists(path))
        return next(complete, None)

    def _restore(self, path: str) -> None:
        try:
            checkpoint = self.manager.checkpoint
            if not any(name.startswith("draws/") for name, _ in tf.train.list_variables(path)):
                checkpoint = tf.train.Checkpoint(**self._parts)  # of a version without them
            status = checkpoint.restore(path)
        except (IndexError, tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
            raise OSError(
                f"The checkpoint {path} is damaged. Delete its files, {path}.*, to resume from the "
                f"one before it. Received: {str(error).splitlines()[0]}"
            ) from error
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(_OTHER.format(path)) from error
        try:
            status.assert_consumed()
        except AssertionError as error:
            status.expect_partial()  # no warning for each variable
            raise ValueError(_OTHER.format(path)) from error

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, and check that the folder is writable before the first step."""
        try:
            tf.io.gfile.makedirs(self.manager.directory)
        except tf.errors.OpError as error:
            raise OSError(
                f"Could not make the folder {self.manager.directory!r} of the checkpoints: "
                f"{error.message}"
            ) from error
        self._since = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save."""
        self.save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save the steps since the last epoch."""
        self.save()


def _exists(path: str) -> bool:
    return tf.io.gfile.exists(f"{path}.index")


class _Variables(tf.Module):
    """All variables of a learner and its optimizer, in their order."""

    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.learner = [v.value for v in learner.variables]
        self.optimizer = [v.value for v in learner.optimizer.variables]
