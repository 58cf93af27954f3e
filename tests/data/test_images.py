"""Image files as one array."""

import os

import keras
import numpy as np
import pytest

import keras_imaml as ki


def test_files_become_one_array(tmp_path):
    values = np.zeros((2, 12, 18, 3), np.uint8)
    values[1, ..., 0] = 255
    files = [tmp_path / "black.png", tmp_path / "red.png"]
    for file, value in zip(files, values, strict=True):
        keras.utils.save_img(file, value, scale=False)
    x = ki.data.load_images(files, image_size=8)
    assert x.shape == (2, 8, 8, 3) and x.dtype == np.float32
    assert np.array_equal(x[0], np.zeros((8, 8, 3))) and np.all(x[1] == [1, 0, 0])
    assert ki.data.load_images(files, 8, channels=1).shape == (2, 8, 8, 1)


def test_names_need_not_be_utf_8(tmp_path):
    file = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    try:
        keras.utils.save_img(tmp_path / "black.png", np.zeros((4, 4, 3), np.uint8), scale=False)
        os.rename(tmp_path / "black.png", file)
    except OSError:
        pytest.skip("file names of this machine are UTF-8")
    assert ki.data.load_images([file], 4).shape == (1, 4, 4, 3)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "a list of image files"),
        ("one.png", "a list of image files"),
        (["missing.png"], r"'missing.png'\], which cannot be decoded"),
        ([__file__], "which cannot be decoded"),
    ],
)
def test_what_is_no_image_is_refused(paths, message):
    with pytest.raises(ValueError, match=message):
        ki.data.load_images(paths, 8)


def test_other_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Invalid value for `channels`"):
        ki.data.load_images(["a.png"], 8, channels=4)
