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

_BLOCK = 16  # so many records of a file are read in a row, where TFDS reads several files at once
_FILES_AT_ONCE = 16
_AT_ONCE = 256  # records that are taken or left together
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

    def in_file_order(self) -> np.ndarray:
        """The places of these records here, file by file."""
        return np.lexsort((self.starts, self.files))

    def contents(
        self, wanted: np.ndarray, image_of: Callable[[tf.Tensor], tf.Tensor]
    ) -> tf.data.Dataset:
        """The image files in some of all records of the files, in the order of the files.

        Each file is read once, which is faster than a record at a time.

        Args:
            wanted: For each of these records, whether it is read.
            image_of: As for `images`.
        """
        with tf.device("CPU:0"):
            is_wanted = tf.constant(wanted[self.in_file_order()])

        def wanted_of(number: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
            start = number * _AT_ONCE
            return tf.boolean_mask(batch, is_wanted[start : start + _AT_ONCE])

        batches = tf.data.TFRecordDataset(self.paths).batch(_AT_ONCE).enumerate()
        return batches.map(wanted_of).unbatch().map(image_of)

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


def records_of(
    builder: Any, tfds_split: str, labels_of: Callable[[tf.Tensor], tf.Tensor]
) -> Records:
    """All records of a split, in the order in which TFDS reads them.

    Args:
        builder: A prepared `tfds.core.DatasetBuilder`, in TFRecord files.
        tfds_split: Which of TFDS's own splits, such as `"train+test"`.
        labels_of: From a vector of records to their labels.

    Raises:
        tf.errors.OpError: If a file is damaged.
        EOFError: If a file has fewer records than it should have.
    """
    instructions = builder.info.splits[tfds_split].file_instructions
    paths = [str(instruction.filename) for instruction in instructions]
    starts, lengths, labels = [], [], []
    for instruction, path in zip(instructions, paths, strict=True):
        # In one thread: many leave memory in use that grows with what they have read.
        records = tf.data.TFRecordDataset(path).batch(4096)
        columns = records.map(lambda r: (tf.strings.length(r), labels_of(r)))
        batches = [*columns.with_options(stream_options()).as_numpy_iterator()]
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
    parts = (np.concatenate(part) for part in (starts, lengths, labels))
    # As by default in TFDS.
    files_at_once = 1 if builder.info.disable_shuffling else _FILES_AT_ONCE
    return Records(paths, files, *parts)[_order(counts, files_at_once)]


def _order(counts: Sequence[int], at_once: int) -> np.ndarray:
    """The order in which TFDS reads records, numbered file by file."""
    first = tf.constant(np.cumsum([0, *counts])[:-1], tf.int64)
    numbers = tf.data.Dataset.from_tensor_slices((first, tf.constant(counts, tf.int64))).interleave(
        lambda begin, count: tf.data.Dataset.range(begin, begin + count),
        cycle_length=at_once,
        block_length=_BLOCK,
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
