r"""What a meta-batch of unequal tasks costs, against equal tasks of as many real examples.

    python -m benchmarks.cost.unequal_tasks

Glyphs, `Conv4`, iMAML. Unequal tasks draw their classes, shots and queries from ranges. They are
padded to the largest task, or sorted into a few buckets first. Equal tasks have the mean of each
range. Costs are of `fit`, drawing of tasks included, and for each example that is there. Processor
seconds count, which other programs disturb least. Passes over all kinds of tasks alternate, and the
fastest one of each kind counts.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras_imaml as ki

import keras
import numpy as np
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS

flags.DEFINE_list("way", ["2", "8"], "The fewest and the most classes of a task.")
flags.DEFINE_list("shot", ["1", "9"], "Support examples of a class, in the same way.")
flags.DEFINE_list("query", ["1", "9"], "Queries of a class.")
flags.DEFINE_list("buckets", ["1", "4"], "Numbers of buckets.")
flags.DEFINE_list("adapt", ["all", "head"], "What adapts.")
flags.DEFINE_integer("tasks", 8, "Tasks of a meta-batch.", lower_bound=1)
flags.DEFINE_integer("filters", 16, "Filters of the network.", lower_bound=1)
flags.DEFINE_integer("classes", 100, "Characters to draw from.", lower_bound=2)
flags.DEFINE_integer("inner_steps", 5, "Inner steps; as many linear ones.", lower_bound=1)
flags.DEFINE_integer("steps", 32, "Meta-batches of a pass.", lower_bound=1)
flags.DEFINE_integer("repeats", 3, "Passes, of which the fastest counts.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of weights and tasks.", lower_bound=0)


def ranges() -> dict[str, tuple[int, int]]:
    """The range of classes, shots and queries."""
    by_name = {}
    for name in ("way", "shot", "query"):
        low, high = map(int, FLAGS[name].value)
        by_name[name] = low, high
    return by_name


class Workload:
    """A learner, and tasks of some sizes.

    Args:
        adapt: `"head"`, or `"all"`.
        sizes: Arguments of `keras_imaml.data.glyphs`.

    Attributes:
        seconds: Of the processors, in the fastest pass.
        real: Examples of a pass that are there.
        padded: Examples that are computed.
    """

    def __init__(self, adapt: str, sizes: dict[str, Any]) -> None:
        keras.utils.set_random_seed(FLAGS.seed)
        episodes = ki.data.glyphs("train", classes=FLAGS.classes, seed=FLAGS.seed, **sizes)
        self._tasks = episodes.batch(FLAGS.tasks)
        network = ki.models.Conv4(episodes.way[1], filters=FLAGS.filters, tied_head=True)
        steps = FLAGS.inner_steps
        linear = ki.linear.ConjugateGradient(steps, tolerance=0.0)
        algorithm = ki.IMAML(1.0, ki.inner.GradientDescent(steps, 0.1), linear)
        self._learner = ki.MetaLearner(network, algorithm, adapt=None if adapt == "all" else adapt)
        self._learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self._learner.fit(self._tasks, steps_per_epoch=1, verbose=0)
        batches = self._tasks.take(FLAGS.steps)
        counts = np.sum([list(_examples(batch)) for batch in batches], axis=(0, 1))
        self.real, self.padded = map(int, counts)
        self.seconds = np.inf

    def run(self) -> None:
        """One pass."""
        since = time.process_time()
        self._learner.fit(self._tasks, steps_per_epoch=FLAGS.steps, verbose=0)
        self.seconds = min(self.seconds, time.process_time() - since)

    @property
    def cost(self) -> float:
        """Seconds for an example that is there."""
        return self.seconds / self.real


def _examples(batch: Any) -> Iterator[tuple[int, int]]:
    """The real and the padded examples of both sets of a meta-batch."""
    for _, y, *weights in batch:
        padded = int(np.prod(y.shape))
        yield int(np.count_nonzero(weights[0])) if weights else padded, padded


def main(argv: Sequence[str]) -> None:
    """Print a table in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    facts = machine.describe()
    print(
        f"seed {FLAGS.seed}, {facts['cores']} cores of {facts['cpu']}; {FLAGS.tasks} tasks of "
        f"{'-'.join(FLAGS.way)} classes, {'-'.join(FLAGS.shot)} shots and {'-'.join(FLAGS.query)} "
        f"queries; Conv4-{FLAGS.filters}, iMAML, {FLAGS.inner_steps} inner and as many linear "
        "steps\n"
    )
    print("| adapts | tasks | padded to | CPU s per 1000 examples | against equal |")
    print("|---|---|---|---|---|", flush=True)
    for adapt in FLAGS.adapt:
        mean = {name: (low + high) // 2 for name, (low, high) in ranges().items()}
        kinds: dict[str, dict[str, Any]] = {"equal": mean}
        for buckets in map(int, FLAGS.buckets):
            label = "unequal" if buckets == 1 else f"unequal, {buckets} buckets"
            kinds[label] = {**ranges(), "buckets": buckets}
        workloads = {label: Workload(adapt, sizes) for label, sizes in kinds.items()}
        for _ in range(FLAGS.repeats):
            for workload in workloads.values():
                workload.run()
        base = workloads["equal"].cost
        for label, workload in workloads.items():
            print(
                f"| {adapt} | {label} | {workload.padded / workload.real:.2f} | "
                f"{1000 * workload.cost:.3f} | {workload.cost / base:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
