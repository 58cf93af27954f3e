"""Images that are turned, scaled and moved."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.data.distorted import distort

KEY = tf.constant([1, 2], tf.int64)
NONE = {"angle": 0.0, "zoom": 0.0, "shift": 0.0}


def first(tasks, count=1):
    elements = itertools.islice(iter(tasks), count)
    return [tf.nest.map_structure(lambda x: x.numpy(), element) for element in elements]


def blob(size=33):
    """A round blob right of the centre of every image."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.exp(-((columns - 6) ** 2 + rows**2) / 8)
    return tf.constant(np.tile(image[None, :, :, None], (50, 1, 1, 1)), tf.float32)


def centres(images):
    """Where the mass of each image is, from the centre: right and down."""
    size = images.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    mass = images[..., 0] / np.sum(images, axis=(1, 2, 3))[:, None, None]
    return np.sum(mass * columns, axis=(1, 2)), np.sum(mass * rows, axis=(1, 2))


def test_nothing_changes_without_distortion():
    tasks = ki.data.glyphs("train", seed=3)
    plain, same = first(tasks)[0], first(ki.data.distorted(tasks, **NONE))[0]
    for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(same), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_turn_keeps_the_distance_from_the_centre():
    right, down = centres(distort(blob(), KEY, math.radians(60), 0.0, 0.0).numpy())
    np.testing.assert_allclose(np.hypot(right, down), 6, atol=0.05)
    angles = np.degrees(np.arctan2(down, right))
    assert angles.min() < -40 and angles.max() > 40 and np.abs(angles).max() <= 60.5


def test_a_zoom_changes_the_distance_and_a_shift_the_place():
    right, down = centres(distort(blob(), KEY, 0.0, 0.3, 0.0).numpy())
    np.testing.assert_allclose(down, 0, atol=1e-3)
    assert right.min() < 5 and right.max() > 7 and 6 * 0.69 < right.min() < right.max() < 6 * 1.31
    right, down = centres(distort(blob(), KEY, 0.0, 0.0, 0.1).numpy())
    assert np.abs(right - 6).max() <= 3.3 + 0.1 and np.abs(right - 6).max() > 2.5
    assert np.abs(down).max() <= 3.3 + 0.1 and np.abs(down).max() > 2.5


def test_every_image_is_distorted_by_itself_and_labels_stay():
    tasks = ki.data.glyphs("train", shot=1, query=2, seed=3)
    same = tasks.map(lambda s, q: ((s[0][:1] * tf.ones([5, 1, 1, 1]), s[1]), q))
    ((x, y), (_, t)) = first(ki.data.distorted(same))[0]
    assert all(np.abs(x[i] - x[j]).max() > 0.1 for i, j in itertools.combinations(range(5), 2))
    np.testing.assert_array_equal(y, range(5))
    np.testing.assert_array_equal(t, np.repeat(range(5), 2))


def test_a_stream_goes_on_where_it_was():
    whole = first(ki.data.distorted(ki.data.glyphs("train", seed=3), seed=3), 4)
    rest = ki.data.distorted(ki.data.glyphs("train", seed=3, start=2), seed=3, start=2)
    for a, b in zip(whole[2:], first(rest, 2), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    batch = ki.data.distorted(ki.data.glyphs("train")).batch(4)
    assert batch.element_spec[0][0].shape == (4, 5, 28, 28, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"angle": -1.0}, "`angle`"), ({"zoom": 1.0}, "`zoom`"), ({"shift": -0.1}, "`shift`")],
)
def test_numbers_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        ki.data.distorted(ki.data.glyphs("train"), **settings)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="Expected episodes of images.*Received"):
        ki.data.distorted(ki.data.sinusoid("train"))
    with pytest.raises(ValueError, match="no `batch` yet"):
        ki.data.distorted(ki.data.glyphs("train").batch(2))
