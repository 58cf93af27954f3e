import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data import mini_imagenet
from keras_imaml.data.class_splits import SPLITS, read_split


@pytest.fixture
def class_folders(tmp_path):
    """Two classes of each split, two gray images of 20 x 20 each."""
    for split in SPLITS:
        for label, name in enumerate(read_split("mini_imagenet", split)[:2]):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = np.full((20, 20, 3), 100 * label + 20, np.uint8)
                (folder / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    return tmp_path


@pytest.mark.parametrize("split", SPLITS)
def test_class_folders(class_folders, split):
    tasks = mini_imagenet(split, way=2, shot=1, query=1, data_dir=class_folders)
    assert tasks.element_spec[0][0] == tf.TensorSpec((2, 84, 84, 3), tf.float32)
    (support_x, _), (query_x, _) = next(tasks.as_numpy_iterator())
    np.testing.assert_allclose(support_x, query_x, atol=0.02)
    assert sorted(np.rint(support_x[:, 0, 0, 0] * 255 / 20)) == [1, 6]


def test_validation_may_be_called_val(class_folders):
    (class_folders / "validation").rename(class_folders / "val")
    mini_imagenet("validation", way=2, shot=1, query=1, data_dir=class_folders)


def test_a_class_in_the_wrong_split_is_refused(class_folders):
    class_name = read_split("mini_imagenet", "test")[0]
    (class_folders / "test" / class_name).rename(class_folders / "train" / class_name)
    with pytest.raises(ValueError, match=rf"no class of the test split among.*train.*{class_name}"):
        mini_imagenet("train", way=2, shot=1, query=1, data_dir=class_folders)


def test_missing_data_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"`data_dir`.*existing folder.*nowhere"):
        mini_imagenet("train", data_dir=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"cannot be downloaded.*mini_imagenet/<version>"):
        mini_imagenet("train", data_dir=tmp_path)


def test_a_missing_split_is_named(class_folders):
    (class_folders / "test").rename(class_folders / "other")
    with pytest.raises(ValueError, match=r"split='test'"):
        mini_imagenet("test", data_dir=class_folders)


def test_bad_split_is_refused():
    with pytest.raises(ValueError, match=r"`split`\. Expected one of"):
        mini_imagenet("val")


@pytest.mark.slow
def test_the_published_images(published_data):
    tasks = mini_imagenet("validation", way=16, query=4, data_dir=published_data, image_size=20)
    (support_x, _), (query_x, _) = next(tasks.as_numpy_iterator())
    assert support_x.shape == (16, 20, 20, 3) and query_x.shape == (64, 20, 20, 3)
    assert len({image.tobytes() for image in np.concatenate([support_x, query_x])}) == 80
    assert 0.3 < query_x.mean() < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("split", "classes"), [("validation", 16), ("test", 20)])
def test_the_published_splits_are_complete(published_data, split, classes):
    tasks = mini_imagenet(split, classes, 1, 599, data_dir=published_data, image_size=8)
    assert tasks.element_spec[1][0].shape == (classes * 599, 8, 8, 3)
