"""Images of a TFDS data set in ArrayRecord files, which give any record by its number."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml.data.stored import StoredImages

_AT_ONCE = 1024  # records that are read together


def labels_of(source: Any) -> np.ndarray:
    """The labels of all records.

    Args:
        source: What `builder.as_data_source` gives, with images that are not decoded.
    """
    starts = range(0, len(source), _AT_ONCE)
    parts = (source.__getitems__([*range(len(source))[s : s + _AT_ONCE]]) for s in starts)
    return np.array([record["label"] for part in parts for record in part])


def numbered_images(
    source: Any, numbers: np.ndarray, image_size: int, channels: int
) -> StoredImages:
    """The images in some records; a graph of these works in this process alone.

    Args:
        source: As for `labels_of`.
        numbers: Of the records.
        image_size: As for `StoredImages`.
        channels: As for `StoredImages`.
    """
    with tf.device("CPU:0"):
        number_of = tf.constant(numbers)

    def encoded(number: np.ndarray) -> bytes:
        return source[int(number)]["image"]

    def content(row: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(encoded, [number_of[row]], tf.string, stateful=False)
        return tf.ensure_shape(image, ())

    def place(row: tf.Tensor) -> tf.Tensor:
        return tf.strings.join(["record ", tf.strings.as_string(number_of[row]), f" of {source}"])

    return StoredImages(content, place, len(numbers), image_size, channels)


def all_of(images: StoredImages) -> np.ndarray:
    """All images in memory."""
    pixels = np.empty(images.shape, np.uint8)
    for start in range(0, len(pixels), _AT_ONCE):
        rows = tf.range(start, min(start + _AT_ONCE, len(pixels)), dtype=tf.int64)
        pixels[start : start + _AT_ONCE] = images.read(rows)
    return pixels
