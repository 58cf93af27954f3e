r"""Many small meta-steps: does the process grow, does a step become slower?

    python -m benchmarks.cost.soak --steps=20000

Prints the resident memory and the time of a step in equal parts of the run. Exit status 1 if the
last part holds over 2 % more memory than the second, or its steps take over 10 % longer. A step's
time is the tenth percentile of its part, which what else the machine does hardly changes.
"""

from collections.abc import Sequence

import keras_imaml as ki

import keras
import numpy as np
from absl import app, flags

from benchmarks import machine
from benchmarks.step_times import StepTimes

FLAGS = flags.FLAGS
_MEMORY, _TIME = 1.02, 1.10

flags.DEFINE_integer("steps", 20000, "Meta-steps.", lower_bound=100)
flags.DEFINE_integer("parts", 10, "Parts of the run.", lower_bound=3)
flags.DEFINE_integer("seed", 0, "Of weights and tasks.", lower_bound=0)


class _Watch(StepTimes):
    """The time of every step, and the memory at the end of every part."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part = part
        self.held: list[int] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        if len(self.seconds) % self.part == 0:
            self.held.append(machine.resident()[0])


def main(argv: Sequence[str]) -> None:
    """Train and print one line a part."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    ki.parallel_tasks()
    keras.utils.set_random_seed(FLAGS.seed)
    learner = ki.MetaLearner(
        ki.models.MLP(1, (1,)),
        ki.IMAML(1.0, ki.inner.GradientDescent(steps=5, learning_rate=0.01)),
    )
    learner.compile(keras.optimizers.Adam(1e-3), "mse")
    watch = _Watch(max(1, FLAGS.steps // FLAGS.parts))
    tasks = ki.data.sinusoid("train", shot=5, query=5, seed=FLAGS.seed).batch(4)
    learner.fit(tasks, steps_per_epoch=FLAGS.steps, verbose=0, callbacks=[watch])
    facts = machine.describe()
    print(f"seed {FLAGS.seed}, {facts['cores']} cores of {facts['cpu']}, {FLAGS.steps} steps")
    print("\n| steps | MiB | ms a step |\n|---|---|---|")
    seconds = np.asarray(watch.seconds[: len(watch.held) * watch.part])
    times = np.percentile(seconds.reshape(-1, watch.part), 10, axis=1)
    for number, (held, step) in enumerate(zip(watch.held, times, strict=True), start=1):
        print(f"| {number * watch.part} | {held / 2**20:.1f} | {1e3 * step:.2f} |")
    grown, slower = watch.held[-1] / watch.held[1], times[-1] / times[1]
    flat = grown <= _MEMORY and slower <= _TIME
    print(
        f"\nmemory {100 * (grown - 1):+.1f} %, time {100 * (slower - 1):+.1f} % since the second "
        f"part: {'' if flat else 'not '}flat"
    )
    raise SystemExit(not flat)


if __name__ == "__main__":
    app.run(main)
