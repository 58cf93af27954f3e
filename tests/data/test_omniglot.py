import socket
import urllib.request
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_imaml.data import omniglot
from keras_imaml.data.class_splits import SPLITS, read_split
from keras_imaml.data.tfds_source import prepared_builder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The validation characters, 2 black squares on white each in TFDS's train and test splits."""
    names = [name for split in SPLITS for name in read_split("omniglot", split)]
    labels = np.repeat([names.index(name) for name in read_split("omniglot", "validation")], 2)
    images = np.full((200, 105, 105, 3), 255, np.uint8)
    images[:, :53, :53] = 0
    features = tfds.features.FeaturesDict(
        {
            "alphabet": tfds.features.ClassLabel(num_classes=50),
            "alphabet_char_id": np.int64,
            "image": tfds.features.Image(shape=(105, 105, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=names),
        }
    )
    folder = tmp_path_factory.mktemp("tfds")
    rows = tf.data.Dataset.from_tensor_slices(
        {"alphabet": labels % 50, "alphabet_char_id": labels, "image": images, "label": labels}
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="omniglot",
        version="3.0.0",
        features=features,
        split_datasets={"train": rows, "test": rows},
        data_dir=folder,
    )
    return folder


@pytest.mark.slow
def test_ink_is_one_and_both_splits_of_tfds_are_used(small):
    tasks = omniglot("validation", way=100, shot=2, query=2, data_dir=small, rotations=False)
    (support_x, _), (query_x, _) = next(tasks.as_numpy_iterator())
    assert support_x.shape == query_x.shape == (200, 28, 28, 1)
    assert np.all(support_x[:, :13, :13] == 1.0) and np.all(support_x[:, 15:] == 0.0)


@pytest.mark.slow
def test_images_are_turned_unless_told_not_to(small):
    tasks = omniglot("validation", way=40, shot=1, query=1, data_dir=small)
    (support_x, _), (query_x, _) = next(tasks.as_numpy_iterator())
    corners = support_x[:, [1, 1, -2, -2], [1, -2, 1, -2], 0]
    assert np.all(corners.sum(axis=1) == 1)
    assert np.all(corners.sum(axis=0) >= 1)  # all four turns are there
    assert np.array_equal(support_x, query_x)


@pytest.mark.slow
@pytest.mark.parametrize("size", [14, 32])
def test_size(small, size):
    tasks = omniglot("validation", shot=1, query=1, data_dir=small, image_size=size)
    assert tasks.element_spec[0][0] == tf.TensorSpec((5, size, size, 1), tf.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "small1"}, r"`split`\. Expected one of"),
        ({"query": 15}, r"has 4.*query=15"),
        ({"way": 101}, r"`way`\. Expected at most 100"),
        ({"image_size": 0}, r"`image_size`\. Expected an integer of at least 8"),
    ],
)
def test_bad_settings_are_refused(small, change, message):
    with pytest.raises(ValueError, match=message):
        omniglot(**{"split": "validation", "query": 1, "data_dir": small, **change})


def test_without_data_and_network_it_says_what_to_do(monkeypatch, tmp_path):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(OSError, match="tfds build omniglot --data_dir"):
        omniglot("train", data_dir=tmp_path)


@pytest.mark.slow
def test_the_published_characters(published_data):
    tasks = omniglot("validation", way=20, shot=5, query=15, data_dir=published_data)
    (support_x, support_y), (query_x, _) = next(tasks.as_numpy_iterator())
    assert support_x.shape == (100, 28, 28, 1) and query_x.shape == (300, 28, 28, 1)
    assert 0.03 < support_x.mean() < 0.15 and support_x.max() == 1.0
    images = np.concatenate([support_x, query_x])
    assert len({image.tobytes() for image in images}) == 400
    # Drawings of one character resemble each other more than those of two.
    flat = support_x.reshape(20, 5, -1)
    distance_within = ((flat[:, 0] - flat[:, 1]) ** 2).sum(axis=-1).mean()
    distance_between = ((flat[:-1, 0] - flat[1:, 1]) ** 2).sum(axis=-1).mean()
    assert distance_within < distance_between


@pytest.mark.slow
def test_the_published_splits_are_complete(published_data):
    builder = prepared_builder("omniglot", published_data, host="github.com")
    classes = builder.info.features["label"]
    rows = builder.as_dataset("train+test", decoders={"image": tfds.decode.SkipDecoding()})
    labels = list(rows.map(lambda row: row["label"]).as_numpy_iterator())
    images = {classes.int2str(label): number for label, number in Counter(labels).items()}
    for split, number in (("train", 1100), ("validation", 100), ("test", 423)):
        assert [images.pop(name) for name in read_split("omniglot", split)] == [20] * number
    assert not images
