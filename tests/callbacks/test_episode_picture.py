"""The picture of an episode: frames say what is right, and a wrong one what it was taken for."""

import numpy as np

from keras_imaml.callbacks.episode_picture import RIGHT, SUPPORT, WRONG, episode_picture


def draw(predictions, columns=6):
    support = np.stack([np.full([28, 28, 1], level, "float32") for level in (0.0, 0.4, 1.0)])
    query = np.repeat(support, 2, axis=0)
    labels = np.arange(3)
    return episode_picture(support, labels, query, labels.repeat(2), np.array(predictions), columns)


def count(picture, color):
    return int((picture == np.array(color)).all(axis=-1).sum())


def test_frames_count_what_is_right():
    frame = count(draw([0, 0, 1, 1, 2, 2]), RIGHT) // 6
    assert frame > 0
    picture = draw([0, 1, 1, 1, 0, 2])
    assert count(picture, RIGHT) == 4 * frame
    assert count(picture, WRONG) == 2 * frame
    assert count(picture, SUPPORT) == 3 * frame
    assert count(draw([0, 0, 1, 1, 2, 2]), WRONG) == 0


def test_a_wrong_one_shows_the_class_that_it_was_taken_for():
    level = (102, 102, 102)  # the second class
    pixels = count(draw([0, 0, 0, 0, 2, 2]), level)
    assert count(draw([1, 0, 0, 0, 2, 2]), level) == pixels + 28 * 28


def test_every_step_has_a_picture_of_the_same_size():
    assert draw([0] * 6).shape == draw([0, 0, 1, 1, 2, 2]).shape
    assert draw([0] * 6, columns=1).shape[1] < draw([0] * 6).shape[1]
