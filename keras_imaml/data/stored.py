"""Images that stay in their files, and are read when an episode draws them.

Memory holds an index of the files or records, and does not grow with the size of the images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml.data.decoding import decode

LARGEST_POOL = 2**30
"""Bytes of decoded images up to which they are held in memory."""

_AT_ONCE = 16  # images of an episode that are read and decoded at the same time
_told: set[str] = set()


class StoredImages:
    """The images of an `ExamplePool` that are not in memory.

    Args:
        contents: From row numbers, int64 of shape `(n,)`, to the contents of image files, strings
            of shape `(n,)`.
        count: The number of images.
        image_size: Height and width in pixels that they are resized to.
        channels: 1 for gray, 3 for RGB.
    """

    def __init__(
        self,
        contents: Callable[[tf.Tensor], tf.Tensor],
        count: int,
        image_size: int,
        channels: int,
    ) -> None:
        self.shape = (count, image_size, image_size, channels)
        self._contents = contents

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """The images of some rows, uint8 of shape `(*rows.shape, size, size, channels)`."""
        _, size, _, channels = self.shape
        images = tf.map_fn(
            lambda row: decode(self._contents(row[None])[0], size, channels),
            tf.reshape(rows, [-1]),
            fn_output_signature=tf.TensorSpec((size, size, channels), tf.uint8),
            parallel_iterations=_AT_ONCE,
        )
        return tf.reshape(images, (*_shape(rows), size, size, channels))

    def read_turned(self, rows: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        """As `read`, with the pixels of each class in the order `pixels[class]`."""
        _, size, _, channels = self.shape
        flat = tf.reshape(self.read(rows), (*_shape(rows), size * size, channels))
        order = tf.broadcast_to(pixels[:, None], tf.concat([tf.shape(rows), [size * size]], 0))
        turned = tf.gather(flat, order, axis=2, batch_dims=2)
        return tf.reshape(turned, (*_shape(rows), size, size, channels))


def of_files(
    root: str, files_of: Mapping[str, Sequence[str]], image_size: int, channels: int
) -> StoredImages:
    """Images of the files in class folders, class by class.

    Args:
        root: The folder of the class folders.
        files_of: The names of the files in each.
        image_size: As for `StoredImages`.
        channels: As for `StoredImages`.
    """
    with tf.device("CPU:0"):  # short strings take no memory of their own
        of_each = [tf.strings.join([f"{name}/", files]) for name, files in files_of.items()]
        names = tf.concat(of_each, axis=0)

    def contents(rows: tf.Tensor) -> tf.Tensor:
        paths = tf.strings.join([root, tf.gather(names, rows)], separator="/")
        return tf.map_fn(tf.io.read_file, paths)

    return StoredImages(contents, names.shape[0], image_size, channels)


def stays_in_files(
    in_memory: bool | None, count: int, image_size: int, channels: int, place: str
) -> bool:
    """Whether images are read when they are drawn; says so once for each place.

    Args:
        in_memory: What the user asked for; None: whatever fits.
        count: The number of images.
        image_size: Height and width in pixels.
        channels: 1 or 3.
        place: For the message.
    """
    size = count * image_size * image_size * channels
    if in_memory is not None:
        return not in_memory
    if size <= LARGEST_POOL:
        return False
    if place not in _told:
        _told.add(place)
        print(
            f"The {count:,} images in {place} take {size / 2**30:.1f} GiB when they are decoded. "
            "They are read from their files for each episode; in_memory=True holds them.",
            flush=True,
        )
    return True


def gathered(examples: Any, rows: tf.Tensor) -> tf.Tensor:
    """The examples of some rows, from memory or from their files."""
    return examples.read(rows) if isinstance(examples, StoredImages) else tf.gather(examples, rows)


def held(examples: np.ndarray | StoredImages) -> Any:
    """What an episode draws from: a tensor, or the stored images as they are."""
    stored = isinstance(examples, StoredImages)
    return examples if stored else tf.convert_to_tensor(examples)


def _shape(rows: tf.Tensor) -> list[Any]:
    """Its shape, with numbers where they are known."""
    dynamic = tf.shape(rows)
    return [dynamic[i] if d is None else d for i, d in enumerate(rows.shape)]
