"""Images that stay in their files, and are read when an episode draws them.

Memory holds an index of the files or records, and does not grow with the size of the images.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml.data.decoding import READ, decode, decode_tiff

LARGEST_POOL = 2**30
"""Bytes of decoded images up to which they are held in memory."""

_AT_ONCE = 16  # images of an episode that are read and decoded at the same time
_told: set[str] = set()


class StoredImages:
    """The images of an `ExamplePool` that are not in memory.

    Args:
        content: From the number of a row, an int64 scalar, to the content of an image file, a
            string scalar.
        place: From the number of a row to the place of that image, for errors, a string scalar.
        count: The number of images.
        image_size: Height and width in pixels that they are resized to.
        channels: 1 for gray, 3 for RGB.
        has_tiff: Whether TIFF files may be among them, which Pillow decodes. Defaults to `False`.
    """

    def __init__(
        self,
        content: Callable[[tf.Tensor], tf.Tensor],
        place: Callable[[tf.Tensor], tf.Tensor],
        count: int,
        image_size: int,
        channels: int,
        has_tiff: bool = False,
    ) -> None:
        self.shape = (count, image_size, image_size, channels)
        self._content, self._place = content, place
        self._decode = decode_tiff if has_tiff else decode

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """The images of some rows, uint8 of shape `(*rows.shape, size, size, channels)`.

        An `InvalidArgumentError` names all images that cannot be read.
        """
        _, size, _, channels = self.shape
        flat = tf.cast(tf.reshape(rows, [-1]), tf.int64)
        count = tf.size(flat, tf.int64)

        def image(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number, self._decode(self._content(flat[number]), size, channels)

        # A data set goes on after an error, so that a message can say of which image it was.
        images = tf.data.Dataset.range(count).map(
            image, num_parallel_calls=_AT_ONCE, deterministic=True
        )
        empty = (tf.constant(-1, tf.int64), tf.zeros((size, size, channels), tf.uint8))
        images = tf.data.Dataset.from_tensors(empty).concatenate(images.ignore_errors())
        numbers, pixels = images.batch(count + 1).get_single_element()
        numbers, pixels = numbers[1:], pixels[1:]
        with tf.control_dependencies([self._check_read(flat, numbers)]):
            return tf.reshape(pixels, (*_shape(rows), size, size, channels))

    def _check_read(self, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Operation:
        """Refuse an episode of whose rows only those at the places `numbers` could be read."""
        was_read = tf.scatter_nd(numbers[:, None], tf.ones_like(numbers), tf.shape(rows, tf.int64))
        broken = tf.boolean_mask(rows, was_read == 0)

        def named() -> tf.Tensor:
            places = tf.map_fn(self._place, broken, fn_output_signature=tf.string)
            return tf.strings.reduce_join(places, separator=", ")

        places = tf.cond(tf.size(broken) > 0, named, lambda: tf.constant(""))
        message = (
            f"Expected images of the kinds {', '.join(READ)}: repair or remove the files, and make "
            "the data set anew. Received, and could not read or decode:"
        )
        return tf.debugging.Assert(tf.equal(tf.size(broken), 0), [message, places])

    def read_turned(self, rows: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        """As `read`, with the pixels of each class in the order `pixels[class]`."""
        _, size, _, channels = self.shape
        flat = tf.reshape(self.read(rows), (*_shape(rows), size * size, channels))
        order = tf.broadcast_to(pixels[:, None], tf.concat([tf.shape(rows), [size * size]], 0))
        turned = tf.gather(flat, order, axis=2, batch_dims=2)
        return tf.reshape(turned, (*_shape(rows), size, size, channels))


def of_files(
    root: str,
    files_of: Mapping[str, Sequence[str]],
    image_size: int,
    channels: int,
    has_tiff: bool = False,
) -> StoredImages:
    """Images of the files in class folders, class by class.

    Args:
        root: The folder of the class folders.
        files_of: The names of the files in each.
        image_size: As for `StoredImages`.
        channels: As for `StoredImages`.
        has_tiff: As for `StoredImages`.
    """
    counts = np.array([*map(len, files_of.values())])
    folder_of = packed([*files_of])
    file_of = packed(name for files in files_of.values() for name in files)
    with tf.device("CPU:0"):
        ends = tf.constant(np.cumsum(counts))

    def path(row: tf.Tensor) -> tf.Tensor:
        folder = folder_of(tf.searchsorted(ends, row[None], side="right", out_type=tf.int64)[0])
        return tf.strings.join([root, folder, file_of(row)], separator="/")

    def content(row: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(path(row))

    return StoredImages(content, path, int(counts.sum()), image_size, channels, has_tiff)


def packed(texts: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """From a number to the text that has it; one piece of memory holds all of them.

    A list of strings would take four times as much: each is an object of its own.

    Args:
        texts: Strings, such as names of files.
    """
    parts, lengths = bytearray(), []
    for text in texts:
        encoded = os.fsencode(text)
        parts += encoded
        lengths.append(len(encoded))
    ends = np.cumsum(np.array(lengths, np.int64))
    with tf.device("CPU:0"):
        joined, last = tf.constant(bytes(parts)), tf.constant(ends)
        length = tf.constant(np.array(lengths, np.int32))

    def text_of(number: tf.Tensor) -> tf.Tensor:
        size = tf.cast(length[number], tf.int64)
        return tf.strings.substr(joined, last[number] - size, size)

    return text_of


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
