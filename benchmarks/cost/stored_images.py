r"""Memory and episodes a second of images that stay in their files.

    python -m benchmarks.cost.stored_images --images=200000 --at_most_mb=90
    python -m benchmarks.cost.stored_images --images=2000 --image_size=84 --step

Writes small files in class folders, unless they are there, and draws episodes of them: read from
their files, then from memory. `--step` also prints how many episodes a meta-step of Conv4 eats.
The exit status is 1 if the data takes more memory than `--at_most_mb`, beside TensorFlow's own.
"""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator, Sequence

import keras_imaml as ki

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 200_000, "How many files.", lower_bound=2000)
flags.DEFINE_integer("image_size", 32, "Height and width of an image.", lower_bound=1)
flags.DEFINE_integer("episodes", 200, "How many are drawn.", lower_bound=1)
flags.DEFINE_string("folder", "runs/many_images", "Where the files are, or go.")
flags.DEFINE_bool("compare", True, "Hold all images in memory after that, to compare with.")
flags.DEFINE_bool("step", False, "Measure a meta-step as well.")
flags.DEFINE_float("at_most_mb", 0.0, "Fail if the data takes more memory; 0: never.")

_OF_A_CLASS = 100
_TASKS = 4  # of a meta-batch


def main(argv: Sequence[str]) -> None:
    """Measure as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    print(machine.busy(machine.describe()), end="", flush=True)
    folder = pathlib.Path(FLAGS.folder).expanduser() / f"{FLAGS.images}_{FLAGS.image_size}"
    write(folder)
    before = peak_mb()
    read = speed(folder, in_memory=False)
    took = peak_mb() - before
    print(f"peak {peak_mb():.0f} MB, of which {before:.0f} MB before the data was opened")
    held = speed(folder, in_memory=True) if FLAGS.compare else None
    if FLAGS.step:
        eaten = step(folder)
        print(f"A meta-step of {_TASKS} tasks eats {eaten:.1f} episodes a second.")
        print(f"Files give {read / eaten:.1f} times that", end="")
        print(f", memory {held / eaten:.1f} times." if held else ".")
    if FLAGS.at_most_mb and took > FLAGS.at_most_mb:
        raise SystemExit(f"The data takes more than {FLAGS.at_most_mb:g} MB")


def speed(folder: pathlib.Path, in_memory: bool) -> float:
    """Episodes a second, printed as well."""
    begin = time.perf_counter()
    episodes = iter(episodes_of(folder, in_memory))
    next(episodes)
    opened = time.perf_counter()
    for _ in range(FLAGS.episodes):
        next(episodes)
    rate = FLAGS.episodes / (time.perf_counter() - opened)
    print(
        f"{FLAGS.images} images of {FLAGS.image_size} x {FLAGS.image_size} from "
        f"{'memory' if in_memory else 'files'}: first episode after {opened - begin:.1f} s, "
        f"{rate:.0f} episodes of 80 images a second",
        flush=True,
    )
    return rate


def step(folder: pathlib.Path) -> float:
    """Episodes that a meta-step eats in a second, with data that is there already."""
    size = FLAGS.image_size
    learner = ki.MetaLearner(ki.models.Conv4(5, input_shape=(size, size, 3)), ki.IMAML())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(1e-3), loss=loss)
    batch = next(iter(episodes_of(folder, False).batch(_TASKS)))
    tasks = tf.data.Dataset.from_tensors(batch).repeat()
    learner.fit(tasks, steps_per_epoch=2, verbose=0)
    begin, steps = time.perf_counter(), 5
    learner.fit(tasks, steps_per_epoch=steps, verbose=0)
    return steps * _TASKS / (time.perf_counter() - begin)


def episodes_of(folder: pathlib.Path, in_memory: bool) -> tf.data.Dataset:
    """5-way 1-shot episodes with 15 queries."""
    return ki.data.from_folder(
        folder, way=5, shot=1, query=15, image_size=FLAGS.image_size, in_memory=in_memory
    )


def write(folder: pathlib.Path) -> None:
    """The files, if they are not there: 64 pictures, over and over, by links where there are."""
    if (folder / "done").exists():
        return
    rng = np.random.default_rng(0)
    size = (FLAGS.image_size, FLAGS.image_size, 3)
    pictures = [rng.integers(0, 256, size, dtype="uint8") for _ in range(64)]
    encoded = [tf.io.encode_jpeg(picture).numpy() for picture in pictures]
    for number, path in enumerate(_paths(folder)):
        if number >= 64:
            with contextlib.suppress(OSError):  # of a file system without links, or too many
                os.link(_name(folder, number % 64), path)
                continue
        pathlib.Path(path).write_bytes(encoded[number % 64])
    (folder / "done").touch()


def _paths(folder: pathlib.Path) -> Iterator[str]:
    for number in range(FLAGS.images):
        path = _name(folder, number)
        if number % _OF_A_CLASS == 0:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        yield path


def _name(folder: pathlib.Path, number: int) -> str:
    return f"{folder}/class_{number // _OF_A_CLASS}/{number}.jpg"


def peak_mb() -> float:
    """The most memory that this process has held."""
    return machine.resident()[1] / 2**20


if __name__ == "__main__":
    app.run(main)
