import logging
import pathlib
import shutil
import socket
import sys
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_imaml.data import stored
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


def test_a_missing_class_is_named(squares):
    with pytest.raises(ValueError, match=r"`data_dir`.*lacks \['z'\]"):
        load_pool(squares, "train", ["a", "z"], 4, 1)


@pytest.fixture
def fail_to_connect(monkeypatch):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


def test_no_network_says_what_to_do(fail_to_connect, tmp_path):
    with pytest.raises(OSError, match="mnist") as error:
        prepared_builder("mnist", tmp_path, host="example.org")
    message = str(error.value)
    assert str(tmp_path) in message and "example.org" in message
    assert "tfds build mnist" in message and "Name or service not known" in message
    assert isinstance(error.value.__cause__, OSError)


def test_a_failed_download_is_reported_with_its_cause(monkeypatch, tmp_path):
    builder = tfds.builder("mnist", data_dir=tmp_path)

    def fail():
        raise PermissionError("read-only")

    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(builder, "download_and_prepare", fail)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    with pytest.raises(OSError, match="PermissionError: read-only") as error:
        prepared_builder("mnist", tmp_path, host="example.org")
    assert isinstance(error.value.__cause__, PermissionError)


def test_prepared_data_need_no_network(fail_to_connect, squares):
    folder = squares.data_path.parent.parent
    assert prepared_builder("squares", folder, host="example.org").info.name == "squares"


def test_missing_tfds_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        prepared_builder("mnist", None, host="example.org")


def test_a_proxy_that_does_not_answer_is_reported_soon(monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(OSError, match="ProxyError"):
        prepared_builder("mnist", tmp_path, host="example.org")
    assert time.monotonic() - begin < 30


def test_episodes_of_any_classification_set(squares):
    folder = str(squares.data_path.parent.parent)
    divided = {"train": ["a", "b"], "test": ["c"]}
    settings = {"way": 2, "shot": 1, "query": 2, "image_size": 4, "data_dir": folder}
    tasks = from_tfds("squares", "train", classes=divided, class_labels=True, **settings)
    (x, y), (query_x, _) = next(iter(tasks))
    assert x.shape == (2, 4, 4, 3) and query_x.shape == (4, 4, 4, 3) and tasks.classes == 2
    level = int(round(float(x[0, 0, 0, 0]) * 255))
    assert (level in (10, 40, 110, 140)) == (int(y[0]) == 0)


class Shards(tfds.core.GeneratorBasedBuilder):
    """60 random images of three classes, in three files that TFDS reads in turns."""

    VERSION = tfds.core.Version("1.0.0")
    name = "shards"

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(5, 4, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "test": self._generate_examples(1)}

    def _generate_examples(self, seed):
        rng = np.random.default_rng(seed)
        for number in range(60):
            image = rng.integers(0, 256, (5, 4, 3), dtype="uint8")
            yield number, {"image": image, "label": number % 3}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("shards"), "tfrecord")


def prepared(folder, file_format):
    builder = Shards(data_dir=folder, file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    return builder


def first_episodes(pool, count=3, start=0):
    tasks = pool.episodes(2, 2, 3, 0, "test", rotations=True, start=start)
    return list(tasks.take(count).as_numpy_iterator())


@pytest.fixture(scope="module")
def pools_of_shards(shards):
    settings = (shards, "train+test", ["c", "a"], 4, 3)
    return [load_pool(*settings, in_memory=in_memory) for in_memory in (False, True)]


@pytest.mark.slow
def test_records_are_equal_from_files_and_from_memory(shards, pools_of_shards):
    pool_of_files, pool_in_memory = pools_of_shards
    assert len(shards.info.splits["train"].filepaths) == 3
    assert pool_of_files.counts.tolist() == pool_in_memory.counts.tolist() == [40, 40]
    assert pool_of_files.class_names == pool_in_memory.class_names
    assert np.array_equal(pool_of_files.examples.read(tf.range(80)), pool_in_memory.examples)


@pytest.mark.slow
def test_episodes_of_records_are_those_of_memory_and_resume_by_number(pools_of_shards):
    pool_of_files, pool_in_memory = pools_of_shards
    episodes = first_episodes(pool_of_files)
    for episode, expected_episode in zip(episodes, first_episodes(pool_in_memory), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, episode, expected_episode)
    (resumed_episode,) = first_episodes(pool_of_files, 1, start=2)
    tf.nest.map_structure(np.testing.assert_array_equal, resumed_episode, episodes[2])


@pytest.mark.slow
def test_array_records_hold_the_same_images_as_other_files(pools_of_shards, tmp_path):
    pytest.importorskip("array_record")
    settings = (prepared(tmp_path, "array_record"), "train+test", ["c", "a"], 4, 3)
    pool_of_files, pool_in_memory = (
        load_pool(*settings, in_memory=in_memory) for in_memory in (False, True)
    )
    assert np.array_equal(pool_of_files.examples.read(tf.range(80)), pool_in_memory.examples)
    for episode, expected_episode in zip(
        first_episodes(pool_of_files), first_episodes(pool_in_memory), strict=True
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, episode, expected_episode)
    pools = (pool_in_memory, pools_of_shards[1])
    rows = [{*map(bytes, pool.examples[:40])} for pool in pools]  # of class c
    assert rows[0] == rows[1]


def test_reading_logs_nothing(shards, caplog):
    with caplog.at_level(logging.INFO, "absl"):
        load_pool(shards, "train", ["a", "b"], 4, 3)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_large_records_stay_in_files_and_print_it_once(shards, monkeypatch, capsys):
    monkeypatch.setattr(stored, "LARGEST_POOL", 100)
    monkeypatch.setattr(stored, "_told", set())
    for _ in range(2):
        pool = load_pool(shards, "train", ["a", "b"], 4, 3, in_memory=None)
    assert isinstance(pool.examples, stored.StoredImages)
    assert capsys.readouterr().out.count("'shards' take") == 1


def test_a_record_that_is_damaged_later_is_named(shards, tmp_path):
    shutil.copytree(shards.data_path, tmp_path / "shards" / "1.0.0")
    builder = tfds.builder_from_directory(tmp_path / "shards" / "1.0.0")
    pool = load_pool(builder, "train", ["a"], 4, 3, in_memory=False)
    file = pathlib.Path(builder.info.splits["train"].filepaths[1])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{file.name} \(record at byte \d+"):
        pool.examples.read(tf.range(20))


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
