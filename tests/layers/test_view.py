"""Images from another place."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(3, 9, 12, 2))


def view_of(x=IMAGES, **settings):
    return ki.layers.View(**settings)(x).numpy()


def test_without_settings_nothing_changes():
    np.testing.assert_array_equal(view_of(), IMAGES)


def test_a_mirror_exchanges_left_and_right():
    np.testing.assert_array_equal(view_of(mirrored=True), IMAGES[:, :, ::-1])


@pytest.mark.parametrize(("down", "right"), [(1, 2), (-2, 1), (3, -1), (0, 12)])
def test_a_move_by_integer_pixels_fills_with_zeros(down, right):
    expected = np.zeros_like(IMAGES)
    for row in range(9):
        for column in range(12):
            if 0 <= row - down < 9 and 0 <= column - right < 12:
                expected[:, row, column] = IMAGES[:, row - down, column - right]
    np.testing.assert_array_equal(view_of(down=down, right=right), expected)


@pytest.mark.parametrize("size", [5, 6, 9, 12, 20])
def test_another_size_is_what_tensorflow_makes_of_it(size):
    expected = tf.image.resize(IMAGES, (size, size), antialias=True)
    np.testing.assert_allclose(view_of(size=size), expected, atol=1e-5)


def test_zooming_in_shows_the_middle():
    x = RNG.uniform(size=(2, 12, 12, 3))
    expected = tf.image.resize(x[:, 2:10, 2:10], (16, 16), antialias=True)[:, 2:-2, 2:-2]
    # At the edge of a crop the image ends; in a view it goes on.
    np.testing.assert_allclose(view_of(x, zoom=1.5, size=16)[:, 2:-2, 2:-2], expected, atol=1e-5)


def test_zooming_out_pads_with_zeros():
    view = view_of(np.ones((1, 8, 8, 1)), zoom=0.5)[0, :, :, 0]
    np.testing.assert_allclose(view, np.pad(np.ones((4, 4)), 2), atol=1e-12)


def test_a_mirrored_image_moves_to_the_right():
    x = np.zeros((1, 1, 7, 1))
    x[0, 0, 1] = 1.0  # at 5 in the mirror
    assert view_of(x, mirrored=True, right=1).argmax() == 6


def test_images_keep_their_dtype_and_integers_become_floating():
    view = ki.layers.View(zoom=1.5)
    assert view(IMAGES).dtype == "float64"
    assert view(keras.Input((9, 12, 2), dtype="bfloat16")).dtype == "bfloat16"
    assert view(keras.Input((9, 12, 2), dtype="uint8")).dtype == "float32"
    numbers = np.arange(216, dtype="uint8").reshape(1, 9, 12, 2)
    np.testing.assert_allclose(view(numbers), view(numbers.astype("float32")))


def test_images_of_another_size_are_refused_when_the_graph_is_built():
    view = ki.layers.View()
    view(IMAGES)
    with pytest.raises(ValueError, match="expected axis 1 of input shape to have value 9"):
        view(keras.Input((10, 12, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_graph_eager_and_configuration_agree(dtype):
    layer = ki.layers.View(True, 1.3, 0.5, -1.25, 7)
    x = IMAGES.astype(dtype)
    restored_layer = ki.layers.View.from_config(layer.get_config())
    expected = layer(x)
    assert expected.dtype == dtype
    assert expected.shape == layer(keras.Input((9, 12, 2), 3)).shape == (3, 7, 7, 2)
    inputs = keras.Input(x.shape[1:], dtype=dtype)
    stock = keras.Model(inputs, layer.with_stock_operations(inputs))
    for outputs in (tf.function(layer, autograph=False)(x), restored_layer(x), stock(x)):
        assert outputs.dtype == dtype
        np.testing.assert_allclose(expected, outputs, rtol=1e-6)


def test_its_gradient_is_its_transpose():
    layer = ki.layers.View(True, 0.8, 1.5, size=7)
    x, cotangent = tf.constant(IMAGES), RNG.normal(size=(3, 7, 7, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    slope = tape.gradient(y, x, output_gradients=tf.constant(cotangent))
    np.testing.assert_allclose(np.sum(slope * IMAGES), np.sum(cotangent * y), rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zoom": 0}, "`zoom`. Expected a finite number above 0. Received: zoom=0"),
        ({"zoom": float("nan")}, "`zoom`.*Received: zoom=nan"),
        ({"down": "far"}, "`down`. Expected a finite number. Received: down='far'"),
        ({"right": float("inf")}, "`right`. Expected a finite number. Received: right=inf"),
        ({"size": 0}, "`size`.*Received: size=0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"Invalid value for {message}"):
        ki.layers.View(**settings)


def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"known height and width. Received: shape=\(3, 4\)"):
        ki.layers.View()(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"Received: shape=\(None, None, None, 3\)"):
        ki.layers.View()(keras.Input([None, None, 3]))
