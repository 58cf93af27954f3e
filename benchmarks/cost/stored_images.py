r"""Memory and episodes a second of images that stay in their files.

    python -m benchmarks.cost.stored_images --images=200000 --at_most_mb=100

Writes small files in class folders, unless they are there, and draws episodes of them. The exit
status is 1 if the data takes more memory than `--at_most_mb`, beside what TensorFlow takes.
"""

import pathlib
import resource
import sys
import time
from collections.abc import Sequence

import keras_imaml as ki

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 200_000, "How many files.", lower_bound=2000)
flags.DEFINE_integer("image_size", 32, "Height and width of an image.", lower_bound=1)
flags.DEFINE_integer("episodes", 200, "How many are drawn.", lower_bound=1)
flags.DEFINE_string("folder", "runs/many_images", "Where the files are, or go.")
flags.DEFINE_bool("in_memory", False, "Hold all images in memory, to compare with.")
flags.DEFINE_float("at_most_mb", 0.0, "Fail if the data takes more memory; 0: never.")

_OF_A_CLASS = 100


def main(argv: Sequence[str]) -> None:
    """Measure as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    print(machine.busy(machine.describe()), end="", flush=True)
    folder = pathlib.Path(FLAGS.folder).expanduser() / str(FLAGS.images)
    write(folder)
    before = peak_mb()
    begin = time.perf_counter()
    tasks = ki.data.from_folder(
        folder, way=5, shot=1, query=15, image_size=FLAGS.image_size, in_memory=FLAGS.in_memory
    )
    episodes = iter(tasks)
    next(episodes)
    opened = time.perf_counter()
    for _ in range(FLAGS.episodes):
        next(episodes)
    seconds = time.perf_counter() - opened
    print(
        f"{FLAGS.images} images of {FLAGS.image_size} x {FLAGS.image_size}: first episode after "
        f"{opened - begin:.1f} s, {FLAGS.episodes / seconds:.0f} episodes of 80 images a second, "
        f"peak {peak_mb():.0f} MB, of which {before:.0f} MB before the data was opened"
    )
    if FLAGS.at_most_mb and peak_mb() - before > FLAGS.at_most_mb:
        raise SystemExit(f"The data takes more than {FLAGS.at_most_mb:g} MB")


def write(folder: pathlib.Path) -> None:
    """The files, if they are not there: 64 pictures, over and over."""
    if (folder / "done").exists():
        return
    rng = np.random.default_rng(0)
    size = (FLAGS.image_size, FLAGS.image_size, 3)
    pictures = [rng.integers(0, 256, size, dtype="uint8") for _ in range(64)]
    encoded = [tf.io.encode_jpeg(picture).numpy() for picture in pictures]
    for number in range(FLAGS.images):
        one = folder / f"class_{number // _OF_A_CLASS}"
        if number % _OF_A_CLASS == 0:
            one.mkdir(parents=True, exist_ok=True)
        (one / f"{number}.jpg").write_bytes(encoded[number % 64])
    (folder / "done").touch()


def peak_mb() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    app.run(main)
