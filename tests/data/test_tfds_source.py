import socket
import sys
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_imaml.data.from_tfds import SHARES, classes_of_split, from_tfds
from keras_imaml.data.tfds_source import load_pool, prepared_builder


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Classes a, b, c with 2, 3 and 1 images in each of two splits; one gray level an image."""

    def rows(offset):
        labels = np.array([1, 0, 2, 1, 0, 1])
        images = np.zeros((6, 4, 4, 3), np.uint8)
        images += (offset + 10 * np.arange(6, dtype=np.uint8))[:, None, None, None]
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
    )
    folder = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="squares",
        version="1.0.0",
        features=features,
        split_datasets={"train": rows(0), "test": rows(100)},
        data_dir=folder,
        disable_shuffling=True,
    )
    return tfds.builder("squares", data_dir=folder)


def levels(pool):
    return pool.examples[:, 0, 0, 0].tolist()


def test_chosen_classes_are_read_in_the_order_asked_for(squares):
    pool = load_pool(squares, "train", ["c", "a"], image_size=4, channels=1)
    assert pool.class_names == ("c", "a")
    assert pool.counts.tolist() == [1, 2]
    assert levels(pool) == [20, 10, 40]


def test_splits_are_merged_and_images_resized(squares):
    pool = load_pool(squares, "train+test", ["b"], image_size=2, channels=3)
    assert pool.examples.shape == (6, 2, 2, 3) and pool.examples.dtype == np.uint8
    assert sorted(levels(pool)) == [0, 30, 50, 100, 130, 150]


def test_a_class_that_is_not_there_is_named(squares):
    with pytest.raises(ValueError, match=r"`data_dir`.*lacks \['z'\]"):
        load_pool(squares, "train", ["a", "z"], 4, 1)


@pytest.fixture
def no_network(monkeypatch):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


def test_no_network_says_what_to_do(no_network, tmp_path):
    with pytest.raises(OSError, match="mnist") as caught:
        prepared_builder("mnist", tmp_path, host="example.org")
    message = str(caught.value)
    assert str(tmp_path) in message and "example.org" in message
    assert "tfds build mnist" in message and "Name or service not known" in message
    assert isinstance(caught.value.__cause__, OSError)


def test_a_failed_download_is_reported_with_its_cause(monkeypatch, tmp_path):
    builder = tfds.builder("mnist", data_dir=tmp_path)

    def fail():
        raise PermissionError("read-only")

    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(builder, "download_and_prepare", fail)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    with pytest.raises(OSError, match="PermissionError: read-only") as caught:
        prepared_builder("mnist", tmp_path, host="example.org")
    assert isinstance(caught.value.__cause__, PermissionError)


def test_prepared_data_need_no_network(no_network, squares):
    folder = squares.data_path.parent.parent
    assert prepared_builder("squares", folder, host="example.org").info.name == "squares"


def test_missing_tfds_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        prepared_builder("mnist", None, host="example.org")


def test_a_proxy_that_does_not_answer_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    since = time.monotonic()
    with pytest.raises(OSError, match="ProxyError"):
        prepared_builder("mnist", tmp_path, host="example.org")
    assert time.monotonic() - since < 30


def test_episodes_of_any_classification_set(squares):
    folder = str(squares.data_path.parent.parent)
    divided = {"train": ["a", "b"], "test": ["c"]}
    settings = {"way": 2, "shot": 1, "query": 2, "image_size": 4, "data_dir": folder}
    tasks = from_tfds("squares", "train", classes=divided, class_labels=True, **settings)
    (x, y), (query_x, _) = next(iter(tasks))
    assert x.shape == (2, 4, 4, 3) and query_x.shape == (4, 4, 4, 3) and tasks.classes == 2
    level = int(round(float(x[0, 0, 0, 0]) * 255))
    assert (level in (10, 40, 110, 140)) == (int(y[0]) == 0)


def test_shares_divide_the_classes_by_their_names_alone():
    names = [f"class {number}" for number in range(50)]
    parts = [classes_of_split(names, split, SHARES) for split in SHARES]
    assert [len(part) for part in parts] == [32, 8, 10]
    assert sorted(sum(parts, [])) == sorted(names)
    assert parts[0] == classes_of_split(names[::-1], "train", SHARES)


@pytest.mark.parametrize(
    ("split", "classes", "message"),
    [
        ("dev", SHARES, "`split`.*train"),
        ("train", {"train": 0.7, "test": 0.5}, "`classes`.*sum"),
        ("train", {"train": 0.7, "test": ["a"]}, "`classes`.*share of each"),
        ("train", {"train": ["a"], "test": ["a", "b"]}, r"`classes`.*\['a'\]"),
    ],
)
def test_divisions_of_classes_that_are_none_are_refused(split, classes, message):
    with pytest.raises(ValueError, match=message):
        classes_of_split(["a", "b"], split, classes)
