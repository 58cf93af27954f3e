import socket
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_imaml.data import cifar_fs
from keras_imaml.data.class_splits import SPLITS, read_split


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """CIFAR-100 with 2 images a class in each of TFDS's splits; the level is that of the class."""
    names = sorted(name for split in SPLITS for name in read_split("cifar_fs", split))
    labels = np.repeat(np.arange(100), 2)
    images = np.broadcast_to(labels[:, None, None, None], (200, 32, 32, 3)).astype(np.uint8)
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "coarse_label": tfds.features.ClassLabel(num_classes=20),
            "label": tfds.features.ClassLabel(names=names),
        }
    )
    folder = tmp_path_factory.mktemp("tfds")
    rows = tf.data.Dataset.from_tensor_slices(
        {"id": [""] * 200, "image": images, "coarse_label": labels % 20, "label": labels}
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar100",
        version="3.0.2",
        features=features,
        split_datasets={"train": rows, "test": rows},
        data_dir=folder,
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "classes"),
    [
        pytest.param("train", 64, marks=pytest.mark.slow),
        pytest.param("validation", 16, marks=pytest.mark.slow),
        ("test", 20),
    ],
)
def test_a_split_holds_its_classes_and_all_their_images(small, split, classes):
    names = sorted(name for each in SPLITS for name in read_split("cifar_fs", each))
    tasks = cifar_fs(split, way=classes, shot=1, query=3, data_dir=small)
    assert tasks.element_spec[0][0] == tf.TensorSpec((classes, 32, 32, 3), tf.float32)
    (support_x, _), (query_x, query_y) = next(tasks.as_numpy_iterator())
    level = np.rint(support_x[:, 0, 0, 0] * 255).astype(int)
    assert {names[index] for index in level} == set(read_split("cifar_fs", split))
    assert np.array_equal(np.rint(query_x[:, 9, 9, 2] * 255).astype(int), level[query_y])


def test_bad_settings_are_refused(small):
    with pytest.raises(ValueError, match=r"`split`\. Expected one of"):
        cifar_fs("val", data_dir=small)
    with pytest.raises(ValueError, match=r"`way`\. Expected at most 20"):
        cifar_fs("test", way=21, query=1, data_dir=small)


def test_without_data_and_network_it_says_what_to_do(monkeypatch, tmp_path):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(OSError, match="www.cs.toronto.edu.*tfds build cifar100"):
        cifar_fs("train", data_dir=tmp_path)
