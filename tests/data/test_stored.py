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


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"rotations": True, "class_labels": True, "channels": 1}, {}], ids=str
)
def test_episodes_from_files_are_those_from_memory(folder, settings):
    tasks_of_files = tasks(folder, False, **settings)
    tasks_in_memory = tasks(folder, True, **settings)
    assert tasks_of_files.classes == tasks_in_memory.classes
    assert tasks_of_files.element_spec == tasks_in_memory.element_spec
    for episode, expected_episode in zip(
        first(tasks_of_files), first(tasks_in_memory), strict=True
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, episode, expected_episode)
    batch, expected = next(iter(tasks_of_files.batch(2))), next(iter(tasks_in_memory.batch(2)))
    tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)


@pytest.mark.slow
def test_reading_resumes_by_number_and_by_checkpoint(folder, tmp_path):
    episodes = first(tasks(folder, False), 4)
    (resumed_episode,) = first(tasks(folder, False, start=3), 1)
    tf.nest.map_structure(np.testing.assert_array_equal, resumed_episode, episodes[3])
    iterator = iter(tasks(folder, False))
    next(iterator), next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "position"))
    restored_iterator = iter(tasks(folder, False))
    tf.train.Checkpoint(iterator=restored_iterator).restore(path)
    restored_episode = tf.nest.map_structure(lambda x: x.numpy(), next(restored_iterator))
    tf.nest.map_structure(np.testing.assert_array_equal, restored_episode, episodes[2])


def test_images_are_held_up_to_a_size_and_larger_sets_print_it_once(folder, capsys, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST_POOL", 100)
    monkeypatch.setattr(stored, "_told", set())
    tasks(folder, None)
    tasks(folder, None)
    assert capsys.readouterr().out.count("in_memory=True holds them") == 1
    tasks(folder, True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("in_memory", "way_out"), [(True, "decoded"), (False, "not images")])
def test_all_files_that_are_no_images_are_named(folder, in_memory, way_out):
    for name in ("class_0/0.png", "class_2/3.png"):
        (folder / name).write_bytes(b"no image")
    with pytest.raises(
        ValueError, match=rf"class_0/0\.png', .*class_2/3\.png'\], which .*{way_out}"
    ):
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
    process = subprocess.run(
        [*command, *limits, f"--folder={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
