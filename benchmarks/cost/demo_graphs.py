r"""Memory and adaptation of the demo by the number of classes whose graphs are made in advance.

    python -m benchmarks.cost.demo_graphs

Makes the graphs that `python -m trainers.demo --warm_up=N` makes, in a process without a page.
"""

import statistics
import time
from collections.abc import Sequence

import keras_imaml as ki  # noqa: F401

import numpy as np
from absl import app, flags
from trainers.demo import learners

from benchmarks import machine

FLAGS = flags.FLAGS
flags.DEFINE_multi_integer("warm_up", [5, 10, 20], "Most classes, in rising order.", lower_bound=2)

_NAMES = ("omniglot", "mini_imagenet")


def main(argv: Sequence[str]) -> None:
    """Measure as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    print(machine.busy(machine.describe()), end="", flush=True)
    print(f"before any graph: {_memory():.0f} MB", flush=True)
    learners.warm_up("sinusoid")
    fewest = 2
    for most in FLAGS.warm_up:
        took = []
        for classes in range(fewest, most + 1):
            for name in _NAMES:
                begin = time.perf_counter()
                learners.warm_up(name, classes)
                took.append(time.perf_counter() - begin)
        fewest = most + 1
        times = ", ".join(f"{name} {seconds(name, most):.2f} s" for name in _NAMES)
        print(
            f"--warm_up={most}: {_memory():.0f} MB, a new graph takes "
            f"{statistics.median(took):.1f} s, and one {most}-way 1-shot adaptation: {times}",
            flush=True,
        )


def seconds(name: str, classes: int) -> float:
    """The median time of an adaptation whose graph is there, with an answer."""
    shape = learners.learner(name, classes).model.input_shape[1:]
    x = np.random.default_rng(0).uniform(size=(classes, *shape)).astype("float32")
    took = []
    for _ in range(7):
        begin = time.perf_counter()
        model, _ = learners.adapt(name, x, np.arange(classes, dtype=np.int32), classes)
        model(x[:1], training=False)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def _memory() -> float:
    return machine.resident()[0] / 2**20


if __name__ == "__main__":
    app.run(main)
