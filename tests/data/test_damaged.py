"""Data sets whose files are damaged are refused by name, before any training."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki


@pytest.fixture
def copy(published_data, tmp_path):
    """A copy of Omniglot that may be spoilt, and its largest record file."""
    shutil.copytree(published_data / "omniglot", tmp_path / "omniglot")
    records = (p for p in tmp_path.rglob("*.tfrecord*") if "train" in p.name)
    return tmp_path, max(records, key=lambda p: p.stat().st_size)


def refused(folder):
    with pytest.raises(OSError, match="Delete that folder.*Received") as error:
        ki.data.omniglot("test", data_dir=folder)
    assert str(folder) in str(error.value)
    return str(error.value)


def rewrite(file, change):
    """Put `change(records)` in the place of the records of a file."""
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    file.unlink()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in change(records):
            writer.write(record)


def with_half_an_image(record):
    example = tf.train.Example.FromString(record)
    image = example.features.feature["image"].bytes_list
    image.value[0] = image.value[0][: len(image.value[0]) // 2]
    return example.SerializeToString()


@pytest.mark.slow
def test_a_file_that_ends_in_a_record(copy):
    folder, file = copy
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused(folder)


@pytest.mark.slow
def test_a_file_that_ends_after_a_record(copy):
    folder, file = copy
    rewrite(file, lambda records: records[: len(records) // 2])
    assert "expected to contain" in refused(folder)


@pytest.mark.slow
def test_a_wrong_checksum(copy):
    folder, file = copy
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(bytes(content))
    refused(folder)


@pytest.mark.slow
def test_an_image_that_ends_early(copy):
    folder, file = copy
    rewrite(file, lambda records: map(with_half_an_image, records))
    refused(folder)


@pytest.mark.slow
def test_the_intact_copy_is_read(copy):
    folder, _ = copy
    (x, _), _ = next(iter(ki.data.omniglot("test", data_dir=pathlib.Path(folder))))
    assert np.isfinite(x.numpy()).all()
