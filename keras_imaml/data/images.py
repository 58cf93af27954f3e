"""Image files as one array."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_imaml._utils.progress_bar import WaitingBar
from keras_imaml._utils.validation import check_integer
from keras_imaml.data.decoding import READ, check_pillow, decode, decode_tiff, is_tiff
from keras_imaml.data.streams import stream_options


def load_images(
    paths: Sequence[str | os.PathLike[str]], image_size: int = 84, channels: int = 3
) -> np.ndarray:
    """Read image files, such as the support set of a task.

    Args:
        paths: PNG, JPEG, BMP, GIF, WebP or TIFF files, at least one; TIFF needs Pillow. The aspect
            ratio is not kept.
        image_size: Height and width in pixels that images are resized to. Defaults to 84.
        channels: 1 for gray, 3 for RGB. Defaults to 3.

    Returns:
        A float32 array `[images, image_size, image_size, channels]` with values in [0, 1].

    Raises:
        ValueError: If a file is missing or is not an image that can be read.

    Example:

    ```python
    files = ["cat.jpg", "dog.jpg"]
    for file in files:
        keras.utils.save_img(file, np.zeros((90, 120, 3)))
    ki.data.load_images(files, image_size=64).shape  # (2, 64, 64, 3)
    ```
    """
    check_integer("image_size", image_size, 1)
    check_channels(channels)
    files = [os.path.expanduser(os.fspath(path)) for path in paths]
    if isinstance(paths, (str, bytes)) or not files:
        raise ValueError(
            f"Invalid value for `paths`. Expected a list of image files. Received: paths={paths!r}"
        )
    return decode_files("paths", files, image_size, channels).astype("float32") / 255


def check_channels(channels: Any) -> None:
    """Refuse anything but gray and RGB."""
    if channels not in (1, 3):
        raise ValueError(
            "Invalid value for `channels`. Expected 1 for gray or 3 for RGB. "
            f"Received: channels={channels!r}"
        )


def decode_files(
    argument: str, files: Sequence[str], size: int, channels: int, unread: Sequence[str] = ()
) -> np.ndarray:
    """Decode files.

    Args:
        argument: Names them in errors.
        files: Paths of files of a kind that is read.
        size: Height and width in pixels.
        channels: 1 or 3.
        unread: Other files that the same error names. Defaults to `()`.

    Returns:
        A uint8 array `[files, size, size, channels]`.
    """
    if not files:
        refuse_broken(argument, unread, "cannot be decoded")
    of_tiff = [file for file in files if is_tiff(file)]
    check_pillow(argument, of_tiff)
    to_image = decode_tiff if of_tiff else decode
    images = np.empty((len(files), size, size, channels), np.uint8)
    decoded = tf.data.Dataset.from_tensor_slices([os.fsencode(file) for file in files]).map(
        lambda file: to_image(tf.io.read_file(file), size, channels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    broken = []
    bar = WaitingBar(len(files), "Decoding images", unit_name="image")
    iterator = decoded.with_options(stream_options()).as_numpy_iterator()
    for number, file in enumerate(files):
        try:
            images[number] = next(iterator)
        except tf.errors.OpError:  # of this file: the next ones are still there
            broken.append(file)
        bar.update(number + 1)
    refuse_broken(argument, sorted([*broken, *unread]), "cannot be decoded")
    return images


def refuse_broken(argument: str, files: Sequence[str], how: str) -> None:
    """Name all files that are no images; `argument` names them in errors."""
    if files:
        raise ValueError(
            f"Invalid value for `{argument}`. Expected images of the kinds "
            f"{', '.join(READ)}: repair, convert or remove the others. "
            f"Received: {list(files)}, which {how}"
        )
