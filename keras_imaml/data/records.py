"""Where the records of a TFDS data set are, by which single images are read.

The index takes 16 bytes an image. No image is decoded to make it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml.data.stored import StoredImages, packed
from keras_imaml.data.streams import stream_options

BLOCK = 16
"""So many records of a file are read in a row, where TFDS reads several files at once."""
_FILES_AT_ONCE = 16
_FRAME = 16  # bytes around a record in its file


@dataclasses.dataclass(frozen=True)
class Records:
    """Records in TFRecord files.

    Args:
        paths: Of the files.
        files: The file of each record, places in `paths`.
        starts: The byte at which each begins.
        lengths: Their bytes.
        labels: Their labels.
    """

    paths: Sequence[str]
    files: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Records":
        """Some of them."""
        columns = (self.files, self.starts, self.lengths, self.labels)
        return Records(self.paths, *(column[rows] for column in columns))

    def images(
        self, image_of: Callable[[tf.Tensor], tf.Tensor], image_size: int, channels: int
    ) -> StoredImages:
        """The images in them.

        Args:
            image_of: From a record, a string scalar, to the content of an image file in it.
            image_size: As for `StoredImages`.
            channels: As for `StoredImages`.
        """
        path_of = packed(self.paths)
        with tf.device("CPU:0"):
            files, starts = tf.constant(self.files), tf.constant(self.starts)
            lengths = tf.constant(self.lengths)

        def content(row: tf.Tensor) -> tf.Tensor:
            return image_of(_record(path_of(files[row]), starts[row], lengths[row]))

        def place(row: tf.Tensor) -> tf.Tensor:
            start = tf.strings.as_string(starts[row])
            return tf.strings.join([path_of(files[row]), " (record at byte ", start, ")"])

        return StoredImages(content, place, len(self.files), image_size, channels)


def files_at_once(builder: Any) -> int:
    """How many files of a data set are read in turns, as by default in TFDS."""
    return 1 if builder.info.disable_shuffling else _FILES_AT_ONCE


def records_of(
    builder: Any, tfds_split: str, label_of: Callable[[tf.Tensor], tf.Tensor]
) -> Records:
    """All records of a split, in the order in which TFDS reads them.

    Args:
        builder: A prepared `tfds.core.DatasetBuilder`, in TFRecord files.
        tfds_split: Which of TFDS's own splits, such as `"train+test"`.
        label_of: From a record to its label.

    Raises:
        tf.errors.OpError: If a file is damaged.
        EOFError: If a file has fewer records than it should have.
    """
    instructions = builder.info.splits[tfds_split].file_instructions
    paths = [str(instruction.filename) for instruction in instructions]
    starts, lengths, labels = [], [], []
    for instruction, path in zip(instructions, paths, strict=True):
        # In one thread: many leave memory in use that grows with what they have read.
        records = tf.data.TFRecordDataset(path).map(lambda r: (tf.strings.length(r), label_of(r)))
        batches = [*records.batch(4096).with_options(stream_options()).as_numpy_iterator()]
        count = sum(len(length) for length, _ in batches)
        if count != instruction.examples_in_shard:
            raise EOFError(
                f"{path} is expected to contain {instruction.examples_in_shard} records, and has "
                f"{count}"
            )
        length, label = (np.concatenate(part) for part in zip(*batches, strict=True))
        ends = np.cumsum(length.astype(np.int64) + _FRAME)
        starts.append(ends - length - _FRAME)
        lengths.append(length)
        labels.append(label)
    counts = [*map(len, labels)]
    files = np.repeat(np.arange(len(paths), dtype=np.int32), counts)
    columns = (np.concatenate(part) for part in (starts, lengths, labels))
    return Records(paths, files, *columns)[_order(counts, files_at_once(builder))]


def _order(counts: Sequence[int], at_once: int) -> np.ndarray:
    """The order in which TFDS reads records, numbered file by file."""
    first = tf.constant(np.cumsum([0, *counts])[:-1], tf.int64)
    numbers = tf.data.Dataset.from_tensor_slices((first, tf.constant(counts, tf.int64))).interleave(
        lambda begin, count: tf.data.Dataset.range(begin, begin + count),
        cycle_length=at_once,
        block_length=BLOCK,
    )
    batches = numbers.batch(2**16).with_options(stream_options())
    return np.concatenate([*batches.as_numpy_iterator()])


def _record(path: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The content of a record, whose checksum is checked."""
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None],
        compression_type="",
        buffer_size=tf.cast(length, tf.int64) + _FRAME,
        byte_offsets=start[None],
    )
    of_string = {"output_types": [tf.string], "output_shapes": [()]}
    first = tf.raw_ops.TakeDataset(input_dataset=records, count=1, **of_string)
    return tf.raw_ops.DatasetToSingleElement(dataset=first, **of_string)[0]
