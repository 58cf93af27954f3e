"""Images that are turned, scaled and moved."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.data.distorted import distort, relit

KEY = tf.constant([1, 2], tf.int64)
NONE = {"angle": 0.0, "zoom": 0.0, "shift": 0.0}


def first(tasks, count=1):
    elements = itertools.islice(iter(tasks), count)
    return [tf.nest.map_structure(lambda x: x.numpy(), element) for element in elements]


def blob(size=33):
    """A round blob right of the center of every image."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.exp(-((columns - 6) ** 2 + rows**2) / 8)
    return tf.constant(np.tile(image[None, :, :, None], (50, 1, 1, 1)), tf.float32)


def centers(images):
    """Where the mass of each image is, from the center: right and down."""
    size = images.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    mass = images[..., 0] / np.sum(images, axis=(1, 2, 3))[:, None, None]
    return np.sum(mass * columns, axis=(1, 2)), np.sum(mass * rows, axis=(1, 2))


def test_nothing_changes_without_distortion():
    tasks = ki.data.glyphs("train", classes=20, seed=3)
    plain_episode, distorted_episode = first(tasks)[0], first(ki.data.distorted(tasks, **NONE))[0]
    for a, b in zip(
        tf.nest.flatten(plain_episode), tf.nest.flatten(distorted_episode), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_turn_keeps_the_distance_from_the_center():
    x, y = centers(distort(blob(), KEY, math.radians(60), 0.0, 0.0).numpy())
    np.testing.assert_allclose(np.hypot(x, y), 6, atol=0.05)
    angles = np.degrees(np.arctan2(y, x))
    assert angles.min() < -40 and angles.max() > 40 and np.abs(angles).max() <= 60.5


def test_a_zoom_changes_the_distance_and_a_shift_the_place():
    x, y = centers(distort(blob(), KEY, 0.0, 0.3, 0.0).numpy())
    np.testing.assert_allclose(y, 0, atol=1e-3)
    assert x.min() < 5 and x.max() > 7 and 6 * 0.69 < x.min() < x.max() < 6 * 1.31
    x, y = centers(distort(blob(), KEY, 0.0, 0.0, 0.1).numpy())
    assert np.abs(x - 6).max() <= 3.3 + 0.1 and np.abs(x - 6).max() > 2.5
    assert np.abs(y).max() <= 3.3 + 0.1 and np.abs(y).max() > 2.5


def test_a_mirror_exchanges_left_and_right_in_half_of_the_images():
    images = tf.random.uniform([200, 9, 8, 3])
    outputs = distort(images, KEY, 0.0, 0.0, 0.0, mirror=True).numpy()
    is_original = np.abs(outputs - images).max((1, 2, 3)) < 1e-5
    is_mirrored = np.abs(outputs - images[:, :, ::-1]).max((1, 2, 3)) < 1e-5
    assert (is_original ^ is_mirrored).all() and 70 < is_original.sum() < 130


def test_a_mirrored_image_is_the_mirror_of_the_distorted_one():
    plain_images = distort(blob(), KEY, math.radians(60), 0.2, 0.1).numpy()
    mirrored_images = distort(blob(), KEY, math.radians(60), 0.2, 0.1, mirror=True).numpy()
    is_original = np.abs(mirrored_images - plain_images).max((1, 2, 3)) < 1e-4
    is_mirrored = np.abs(mirrored_images - plain_images[:, :, ::-1]).max((1, 2, 3)) < 1e-4
    assert (is_original ^ is_mirrored).all() and 0 < is_original.sum() < 50


def test_reflected_edges_leave_nothing_empty():
    white_images = tf.ones([20, 16, 16, 3])
    images_with_gaps, reflected_images = (
        distort(white_images, KEY, 0.2, 0.1, 0.2, edges=edges).numpy()
        for edges in ("empty", "reflected")
    )
    assert images_with_gaps.min() == 0
    np.testing.assert_allclose(reflected_images, 1, atol=1e-5)


def test_light_changes_every_channel_of_an_image_by_a_factor():
    images = tf.random.uniform([50, 6, 6, 3], 0.5, 1.0)
    factors = (relit(images, KEY, 0.3) / images).numpy()
    assert np.ptp(factors, axis=(1, 2)).max() < 1e-5
    image_factors = factors[:, 0, 0]
    assert np.abs(image_factors - 1).max() <= 0.3
    assert image_factors.min() < 0.75 and image_factors.max() > 1.25
    assert np.ptp(image_factors, axis=1).min() > 1e-3  # not the same for all channels


def test_every_image_is_distorted_independently_and_labels_stay():
    tasks = ki.data.glyphs("train", classes=20, shot=1, query=2, seed=3)
    tasks_of_one_image = tasks.map(lambda s, q: ((s[0][:1] * tf.ones([5, 1, 1, 1]), s[1]), q))
    ((x, y), (_, t)) = first(ki.data.distorted(tasks_of_one_image))[0]
    assert all(np.abs(x[i] - x[j]).max() > 0.1 for i, j in itertools.combinations(range(5), 2))
    np.testing.assert_array_equal(y, range(5))
    np.testing.assert_array_equal(t, np.repeat(range(5), 2))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"mirror": True, "light": 0.3, "edges": "reflected"},
    ],
)
def test_a_stream_resumes_at_its_position(settings):
    expected = first(
        ki.data.distorted(ki.data.glyphs("train", classes=20, seed=3), **settings, seed=3), 4
    )
    resumed_glyphs = ki.data.glyphs("train", classes=20, seed=3, start=2)
    resumed_tasks = ki.data.distorted(resumed_glyphs, **settings, seed=3, start=2)
    for a, b in zip(expected[2:], first(resumed_tasks, 2), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    batch = ki.data.distorted(ki.data.glyphs("train", classes=20)).batch(4)
    assert batch.element_spec[0][0].shape == (4, 5, 28, 28, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"angle": -1.0}, "`angle`"),
        ({"zoom": 1.0}, "`zoom`"),
        ({"shift": -0.1}, "`shift`"),
        ({"light": 1.0}, "`light`.*below 1"),
        ({"edges": "black"}, "`edges`"),
    ],
)
def test_numbers_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        ki.data.distorted(ki.data.glyphs("train", classes=20), **settings)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="Expected episodes of images.*Received"):
        ki.data.distorted(ki.data.sinusoid("train"))
    with pytest.raises(ValueError, match="no `batch` yet"):
        ki.data.distorted(ki.data.glyphs("train", classes=20).batch(2))
