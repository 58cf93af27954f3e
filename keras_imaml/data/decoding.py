"""Decode an image file to a square uint8 image."""

import importlib.util
import io
import os

import numpy as np
import tensorflow as tf

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
"""Of files that TensorFlow decodes, in any case."""
TIFF = (".tif", ".tiff")
"""Of files that Pillow decodes, where it is installed."""
READ = (*EXTENSIONS, *TIFF)
"""Of files that are read."""
NOT_READ = (".heic", ".heif", ".avif", ".jp2", ".psd", ".svg", ".raw", ".ico")
"""Of images that neither of them decodes."""


def decode(encoded: tf.Tensor, image_size: int, channels: int) -> tf.Tensor:
    """Decodes PNG, JPEG, BMP, GIF or WebP and resizes to a square.

    Palettes and CMYK become RGB, 16 bits become 8, and transparency is ignored. Of an animated
    GIF or PNG the first frame is taken; an animated WebP is an error.

    Args:
        encoded: Scalar string tensor, the content of a file.
        image_size: Height and width of the result in pixels. The aspect ratio is not kept.
        channels: 1 for gray, 3 for RGB.

    Returns:
        A uint8 tensor of shape `(image_size, image_size, channels)`.

    Example:

    ```python
    from keras_imaml.data.decoding import decode

    encoded = tf.io.encode_png(np.zeros((105, 105, 1), "uint8"))
    decode(encoded, image_size=28, channels=1).shape  # (28, 28, 1)
    ```
    """
    return _fitted(_pixels(encoded, channels), image_size, channels)


def decode_tiff(encoded: tf.Tensor, image_size: int, channels: int) -> tf.Tensor:
    """As `decode`, and TIFF as well, by Pillow: the first page, 16 bits as 8.

    A graph of it works in this process alone, as Pillow is called from it.

    Args:
        encoded: As for `decode`.
        image_size: As for `decode`.
        channels: As for `decode`.
    """
    head = tf.strings.substr(encoded, 0, 4)
    is_tiff = tf.reduce_any(tf.equal(head, [b"II*\x00", b"MM\x00*"]))

    def by_pillow() -> tf.Tensor:
        pixels = tf.numpy_function(_tiff_pixels, [encoded], tf.uint8, stateful=False)
        pixels = tf.ensure_shape(pixels, (None, None, 3))
        return tf.image.rgb_to_grayscale(pixels) if channels == 1 else pixels

    image = tf.cond(is_tiff, by_pillow, lambda: _pixels(encoded, channels))
    return _fitted(image, image_size, channels)


def is_tiff(file: str) -> bool:
    """Whether a file has the ending of a TIFF image."""
    return os.path.splitext(file)[1].lower() in TIFF


def check_pillow(argument: str, files: list[str]) -> None:
    """Refuse TIFF files without Pillow.

    Args:
        argument: Names them in the error.
        files: The TIFF files.
    """
    if files and importlib.util.find_spec("PIL") is None:
        raise ValueError(
            f"Invalid value for `{argument}`. Expected images that TensorFlow decodes "
            f"({', '.join(EXTENSIONS)}), as Pillow is not installed: TIFF needs "
            f"`pip install pillow`. Received: {files}"
        )


def _tiff_pixels(encoded: bytes) -> np.ndarray:
    """The first page of a TIFF file, RGB, uint8."""
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(encoded), formats=["TIFF"])
    if image.mode.startswith("I;16"):  # `convert` would cut its values off at 255
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ValueError(f"A TIFF file with pixels of mode {image.mode}")
    return np.asarray(image.convert("RGB"))


def _fitted(image: tf.Tensor, image_size: int, channels: int) -> tf.Tensor:
    """An image in another size."""
    size = (image_size, image_size)
    height, width = tf.shape(image)[0], tf.shape(image)[1]

    def resized() -> tf.Tensor:
        # Area averages keep thin strokes when shrinking, but give blocks when enlarging.
        shrinks = tf.logical_and(height >= image_size, width >= image_size)
        values = tf.cond(
            shrinks,
            lambda: tf.image.resize(image, size, method="area"),
            lambda: tf.image.resize(image, size, method="bilinear", antialias=True),
        )
        return tf.saturate_cast(tf.round(values), tf.uint8)

    fits = tf.logical_and(height == image_size, width == image_size)
    return tf.ensure_shape(tf.cond(fits, lambda: image, resized), (*size, channels))


def _pixels(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """The first image of a file, `[height, width, channels]`, uint8."""
    if channels == 3:
        return _to_rgb(encoded)
    # Not every format decodes to gray directly. PNG with gray pixels does, in a third of the time.
    start = tf.strings.join([tf.strings.substr(encoded, 0, 26), tf.constant(26 * b"?")])
    is_png = tf.equal(tf.strings.substr(start, 0, 8), b"\x89PNG\r\n\x1a\n")
    has_gray_pixels = tf.equal(tf.strings.substr(start, 25, 1), b"\x00")
    return tf.cond(
        is_png & has_gray_pixels,
        lambda: tf.io.decode_png(encoded, channels=1),
        lambda: tf.image.rgb_to_grayscale(_to_rgb(encoded)),
    )


def _to_rgb(encoded: tf.Tensor) -> tf.Tensor:
    """The first image of a file, `[height, width, 3]`, uint8."""
    first = tf.strings.substr(encoded, 0, 1)
    may_be_special = tf.reduce_any(tf.equal(first, [b"B", b"R"]))
    image = tf.cond(may_be_special, lambda: _bmp_or_webp(encoded), lambda: _stock(encoded))
    return tf.ensure_shape(image, (None, None, 3))


def _stock(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _bmp_or_webp(encoded: tf.Tensor) -> tf.Tensor:
    """As `_to_rgb`, for a file that begins as BMP and WebP do, whatever it is."""
    header = tf.io.decode_raw(tf.strings.substr(encoded, 0, 64), tf.uint8)
    header = tf.concat([header, tf.zeros([64], tf.uint8)], axis=0)[:64]

    def has(at: int, text: bytes) -> tf.Tensor:
        return tf.reduce_all(tf.equal(header[at : at + len(text)], list(text)))

    def number(at: int) -> tf.Tensor:
        return tf.io.decode_raw(tf.strings.substr(encoded, at, 4), tf.int32)[0]

    def with_palette() -> tf.Tensor:  # TensorFlow takes the numbers of the colors for gray
        begin = 14 + number(14)
        colors = tf.strings.substr(encoded, begin, number(10) - begin)
        colors = tf.reshape(tf.io.decode_raw(colors, tf.uint8), [-1, 4])[:, 2::-1]
        return tf.gather(colors, tf.cast(_stock(encoded)[..., 0], tf.int32))

    def refused() -> tf.Tensor:  # TensorFlow 2.21 writes past the end of its memory
        with tf.control_dependencies([tf.debugging.Assert(False, ["An animated WebP file"])]):
            return tf.zeros([1, 1, 3], tf.uint8)

    def maybe_transparent() -> tf.Tensor:  # WebP is decoded with the channels that it has
        return tf.io.decode_image(encoded, channels=0, expand_animations=False)[..., :3]

    is_webp = has(0, b"RIFF") & has(8, b"WEBP")
    is_animated = is_webp & has(12, b"VP8X") & tf.equal(header[20] // 2 % 2, 1)
    return tf.case(
        [
            (has(0, b"BM") & has(28, b"\x08\x00"), with_palette),
            (is_animated, refused),
            (is_webp, maybe_transparent),
        ],
        default=lambda: _stock(encoded),
    )
