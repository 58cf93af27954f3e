r"""A meta-step in which the head alone adapts: what it gains from a trunk that is taken out.

    python -m benchmarks.speed.trunk --cores=1

Four ways to the same meta-gradient, which is checked first (relative difference at most 5e-3): the
whole network in every inner step; the layers before the head once a meta-step; these with fused
kernels for their normalization, as `MetaLearner` does it; and that in mixed precision (bfloat16
before the head; relative difference at most 0.2). Random images, tied heads, five Newton steps and
the exact dual. The four take turns; medians of seconds of the processor, which other programs on
the machine disturb least.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import keras_imaml as ki
from keras_imaml.learner import objective_builder
from keras_imaml.learner.meta_batch import meta_gradient

import keras
import tensorflow as tf
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
# Rounding turns units of relu on and off.
_TOLERANCE = {"float32": 5e-3, "mixed_bfloat16": 0.2}


class Shape(NamedTuple):
    """Meta-batches of 1-shot tasks with 5 query images per class."""

    title: str
    tasks: int
    way: int
    image: tuple[int, int, int]
    filters: int
    pooling: str


SHAPES = (
    Shape("Omniglot, Conv4-64, 20-way, 4 tasks", 4, 20, (28, 28, 1), 64, "average"),
    Shape("mini-ImageNet, Conv4-32, 10-way, 2 tasks", 2, 10, (84, 84, 3), 32, "average"),
    Shape("mini-ImageNet, Conv4-64, 16-way, 1 task", 1, 16, (84, 84, 3), 64, "max"),
)
WAYS = {
    "whole network": "float32",
    "trunk once": "float32",
    "trunk once, fused": "float32",
    "and in mixed precision": "mixed_bfloat16",
}


def define_flags() -> None:
    """Not at import: flags of the trainers have the same names."""
    flags.DEFINE_integer("rounds", 5, "Timed meta-steps of each way.", lower_bound=1)
    flags.DEFINE_integer("cores", 1, "Cores, each with tasks of its own.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the weights and the images.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Check, measure, and print a table in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    facts = machine.describe()
    ki.parallel_tasks(FLAGS.cores)
    print(machine.busy(facts), end="")
    print(f"{FLAGS.cores} of {facts['cores']} cores of {facts['cpu']}; seed {FLAGS.seed}\n")
    print(f"| | {' | '.join(f'{way}, ms' for way in WAYS)} | times |\n{'|---' * (2 + len(WAYS))}|")
    for shape in SHAPES:
        steps = [step_of(shape, way, FLAGS.seed) for way in WAYS]
        expected, *gradients = [step() for step in steps]
        for way, gradient in zip(list(WAYS)[1:], gradients, strict=True):
            check(way, expected, gradient)
        times: list[list[float]] = [[] for _ in steps]
        for _ in range(FLAGS.rounds):
            for step, times_of_step in zip(steps, times, strict=True):
                start = time.process_time()
                step()
                times_of_step.append(1e3 * (time.process_time() - start))
        medians = [statistics.median(times_of_step) for times_of_step in times]
        cells = " | ".join(f"{median:.0f}" for median in medians)
        print(f"| {shape.title} | {cells} | {medians[0] / medians[-1]:.1f} |", flush=True)


def step_of(shape: Shape, way: str, seed: int) -> Callable[[], tf.Tensor]:
    """A function that gives the meta-gradient of a fixed meta-batch, as one vector."""
    keras.utils.set_random_seed(seed)
    with _built(way):
        network = ki.models.Conv4(
            shape.way,
            shape.image,
            shape.filters,
            downsample=shape.pooling,
            tied_head=True,
            dtype=WAYS[way],
        )
        algorithm = ki.IMAML(0.2, ki.inner.NewtonCG(5), ki.linear.Dual())
        learner = ki.MetaLearner(network, algorithm, adapt="head", transductive=True)
        learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        data = tuple(_examples(shape, count, seed) for count in (1, 5))

        @tf.function(autograph=False)
        def step() -> tf.Tensor:
            objective = learner.objective(data, training=True)
            # Biases before a normalization have gradients of zero, but for rounding.
            all_variables = learner.trainable_variables
            variables = [v for v in all_variables if "conv" not in v.path or v.name == "kernel"]
            gradients = meta_gradient(learner.algorithm, objective, variables, None).gradients
            return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)

        step.get_concrete_function()
    return step


def check(way: str, expected: tf.Tensor, gradient: tf.Tensor) -> None:
    """Refuse to time what does not compute the same."""
    difference = float(tf.norm(gradient - expected) / tf.norm(expected))
    tolerance = _TOLERANCE[WAYS[way]]
    if not difference <= tolerance:
        raise SystemExit(
            f"The meta-gradient of {way!r} differs by {difference:.1e}. Expected {tolerance}."
        )


@contextlib.contextmanager
def _built(way: str) -> Iterator[None]:
    """Within it, learners and their graphs are built that way."""
    layer = ki.layers.TaskBatchNormalization
    with contextlib.ExitStack() as stack:
        if way == "whole network":
            stack.enter_context(mock.patch.object(objective_builder, "split", return_value=None))
        elif way == "trunk once":
            stack.enter_context(mock.patch.object(layer, "fuses", return_value=False))
        yield


def _examples(shape: Shape, count: int, seed: int) -> Any:
    size = (shape.tasks, shape.way * count)
    images = tf.random.stateless_uniform((*size, *shape.image), (seed, count))
    labels = tf.repeat(tf.range(shape.way), count)
    return images, tf.broadcast_to(labels, size)


if __name__ == "__main__":
    define_flags()
    app.run(main)
