"""Images that stay in their files: the same episodes, and memory that does not grow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.data import stored

SIZE = 6


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / f"class_{number}").mkdir()
        for image in range(5 + number % 2):
            pixels = rng.integers(0, 256, (SIZE, SIZE + 1, 3), dtype="uint8")
            encoded = tf.io.encode_png(pixels).numpy()
            (tmp_path / f"class_{number}" / f"{image}.png").write_bytes(encoded)
    return tmp_path


def tasks(folder, in_memory, **settings):
    return ki.data.from_folder(
        folder, way=3, shot=2, query=2, image_size=SIZE, in_memory=in_memory, **settings
    )


def first(dataset, count=3):
    return list(dataset.take(count).as_numpy_iterator())


@pytest.mark.parametrize(
    "settings", [{}, {"rotations": True, "class_labels": True, "channels": 1}], ids=str
)
def test_episodes_from_files_are_those_from_memory(folder, settings):
    read, held = tasks(folder, False, **settings), tasks(folder, True, **settings)
    assert read.classes == held.classes and read.element_spec == held.element_spec
    for one, other in zip(first(read), first(held), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    batch, expected = next(iter(read.batch(2))), next(iter(held.batch(2)))
    tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)


@pytest.mark.slow
def test_reading_resumes_by_number_and_by_checkpoint(folder, tmp_path):
    everything = first(tasks(folder, False), 4)
    (later,) = first(tasks(folder, False, start=3), 1)
    tf.nest.map_structure(np.testing.assert_array_equal, later, everything[3])
    iterator = iter(tasks(folder, False))
    next(iterator), next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "position"))
    other = iter(tasks(folder, False))
    tf.train.Checkpoint(iterator=other).restore(path)
    found = tf.nest.map_structure(lambda x: x.numpy(), next(other))
    tf.nest.map_structure(np.testing.assert_array_equal, found, everything[2])


def test_images_are_held_up_to_a_size_and_it_is_said_once(folder, capsys, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST_POOL", 100)
    monkeypatch.setattr(stored, "_told", set())
    tasks(folder, None)
    tasks(folder, None)
    assert capsys.readouterr().out.count("in_memory=True holds them") == 1
    tasks(folder, True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("in_memory", "how"), [(True, "decoded"), (False, "not images")])
def test_all_files_that_are_no_images_are_named(folder, in_memory, how):
    for name in ("class_0/0.png", "class_2/3.png"):
        (folder / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"class_0/0\.png', .*class_2/3\.png'\], which .*{how}"):
        tasks(folder, in_memory)


def test_files_that_end_early_are_named_when_they_are_read(folder):
    episodes = iter(tasks(folder, False))
    names = [f"class_{number}/{image}.png" for number in range(4) for image in range(4)]
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="repair or remove") as error:
        next(episodes)
    assert sum(f"{folder}/{name}" in str(error.value) for name in names) > 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    command = [sys.executable, "-m", "benchmarks.cost.stored_images", "--images=200000"]
    limits = ["--at_most_mb=90", "--episodes=20", "--compare=False"]
    done = subprocess.run(
        [*command, *limits, f"--folder={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
