"""TensorBoard's event files of one run, a folder for each of its curves' names."""

import os
from collections.abc import Mapping

import tensorflow as tf
from tensorboard.plugins.scalar import metadata

# TensorBoard's message as one of TensorFlow, whose class is another.
_SCALAR = tf.compat.v1.SummaryMetadata.FromString(
    metadata.create_summary_metadata(display_name="", description="").SerializeToString()
)


class EventFiles:
    """Writers that are opened when something is first written.

    Args:
        log_dir: TensorBoard's folder of this run.
    """

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def of(self, name: str) -> tf.summary.SummaryWriter:
        """The writer of the folder `name`; of `log_dir` itself with an empty name."""
        if name not in self._writers:
            folder = os.path.join(self.log_dir, *name.split("/")) if name else self.log_dir
            self._writers[name] = tf.summary.create_file_writer(folder)
        return self._writers[name]

    def scalars(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag, all in one record: `tf.summary.scalar` takes ten times longer."""
        summary = tf.compat.v1.Summary()
        for tag, value in values.items():
            entry = summary.value.add(tag=tag, metadata=_SCALAR)
            entry.tensor.dtype = tf.float32.as_datatype_enum
            entry.tensor.float_val.append(value)
        with self.of(name).as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def flush(self) -> None:
        """Make what was written visible to readers."""
        for writer in self._writers.values():
            writer.flush()
