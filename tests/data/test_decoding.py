import io

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data.decoding import decode


def png(pixels):
    return tf.io.encode_png(np.asarray(pixels, np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_right_size_is_not_changed(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    assert np.array_equal(decode(png(pixels), 9, channels), pixels)


def test_gray_keeps_every_level():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(decode(png(levels), 16, 1), levels)


def test_colors_and_gray_are_converted():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert np.unique(decode(png(red), 4, 1)).tolist() == [76]
    assert np.array_equal(decode(png(red[..., :1]), 4, 3), np.full((4, 4, 3), 255))


def test_shrinking_averages():
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[::2] = 200  # a nearest pixel would give 0 or 200
    assert np.unique(decode(png(pixels), 4, 1)).tolist() == [100]


def test_growing_is_smooth_and_shape_is_static():
    pixels = np.zeros((2, 2, 1), np.uint8)
    pixels[:, 1] = 240
    row = decode(png(pixels), 8, 1).numpy()[0, :, 0]
    assert np.all(np.diff(row.astype(int)) >= 0) and len(set(row)) > 3
    traced_decode = tf.function(lambda e: decode(e, 8, 1), autograph=False).get_concrete_function(
        tf.TensorSpec((), tf.string)
    )
    assert traced_decode.output_shapes == (8, 8, 1)


@pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
def test_formats(encode):
    pixels = np.full((6, 6, 3), 130, np.uint8)
    assert abs(decode(encode(pixels), 6, 3).numpy().astype(int) - 130).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA", "transparent"])
def test_gray_is_that_of_the_colors(mode):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    if mode == "I;16":
        picture = image.fromarray(rng.integers(0, 2**16, (9, 9), dtype=np.uint16))
        settings = {}
    else:
        picture = image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture = picture.convert("L" if mode == "transparent" else mode)
        settings = {"transparency": 7} if mode == "transparent" else {}
    file = io.BytesIO()
    picture.save(file, format="png", **settings)
    encoded = tf.constant(file.getvalue())
    colors = tf.io.decode_image(encoded, channels=3)
    assert np.array_equal(decode(encoded, 9, 1), tf.image.rgb_to_grayscale(colors))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("content", [b"", b"B", b"no image", b"\x89PNG\r\n\x1a\n" + 30 * b"\x00"])
def test_what_is_not_an_image_raises(content, channels):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(content), 6, channels)
