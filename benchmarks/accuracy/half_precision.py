r"""How far the meta-gradient of all weights in bfloat16 is from that in float32.

    python -m benchmarks.accuracy.half_precision --data_dir=DIR
    python -m benchmarks.accuracy.half_precision --data_dir=DIR --learner=RUN/learner.keras

Conv4 with average pooling and a tied head, on four Omniglot tasks: first weights, or those of a
learner. The last column says how far gradients of two batches of tasks are from one another.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras_imaml as ki  # before TensorFlow, for oneDNN

import keras
import numpy as np
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
_TASKS, _QUERIES, _TIMED_STEPS = 4, 5, 3
_DESCENT = ki.inner.GradientDescent(25, 0.1)
ALGORITHMS: dict[str, Callable[[], ki.algorithms.Algorithm]] = {
    "iMAML, gradient descent, λ = 0.05": lambda: ki.IMAML(0.05, inner=_DESCENT),
    "iMAML, gradient descent, λ = 0.2": lambda: ki.IMAML(0.2, inner=_DESCENT),
    "iMAML, Newton-CG, λ = 0.05": lambda: ki.IMAML(0.05, inner=ki.inner.NewtonCG(5)),
    "iMAML, Newton-CG, λ = 2": lambda: ki.IMAML(2.0, inner=ki.inner.NewtonCG(5)),
    "MAML": lambda: ki.MAML(ki.inner.GradientDescent(5, 0.1)),
    "first-order MAML": lambda: ki.MAML(ki.inner.GradientDescent(5, 0.1), first_order=True),
}


def learner_of(
    algorithm: ki.algorithms.Algorithm, way: int, dtype: str, weights: Sequence[np.ndarray] | None
) -> ki.MetaLearner:
    """A learner whose outer step takes the meta-gradient from the weights.

    Args:
        algorithm: Of the learner.
        way: Classes of a task.
        dtype: Of the network: `"float32"` or `"mixed_bfloat16"`.
        weights: Of the network; None: its first weights, of seed 0.
    """
    keras.utils.set_random_seed(0)
    network = ki.models.Conv4(way, tied_head=True, downsample="average", dtype=dtype)
    if weights is not None:
        network.set_weights(weights)
    learner = ki.MetaLearner(network, algorithm)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.SGD(1.0), loss)
    return learner


def gradient(learner: ki.MetaLearner, batch: Any) -> np.ndarray:
    """The flat meta-gradient of a batch of tasks; the weights stay as they are."""
    weights = learner.model.get_weights()
    before = [variable.numpy() for variable in learner.model.trainable_variables]
    learner.train_on_batch(*batch)
    after = [variable.numpy() for variable in learner.model.trainable_variables]
    learner.model.set_weights(weights)
    return np.concatenate([(b - a).ravel() for b, a in zip(before, after, strict=True)])


def difference(expected: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    """The length of the difference, in lengths of the first, and the cosine of the angle."""
    length = float(np.linalg.norm(expected))
    cosine = float(expected @ received) / (length * float(np.linalg.norm(received)))
    return float(np.linalg.norm(expected - received)) / length, cosine


def _seconds(learner: ki.MetaLearner, batch: Any) -> float:
    """Median CPU seconds of a meta-step."""
    times = []
    for _ in range(_TIMED_STEPS):
        begin = time.process_time()
        gradient(learner, batch)
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main(argv: Sequence[str]) -> None:
    """Print a table in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    facts = machine.describe()
    print(machine.busy(facts), end="")
    print(f"{facts['cores']} cores of {facts['cpu']}; Conv4-64, {FLAGS.way}-way 1-shot, 4 tasks\n")
    weights = None
    if FLAGS.learner:
        weights = keras.saving.load_model(FLAGS.learner).model.get_weights()
    tasks = ki.data.omniglot("train", FLAGS.way, 1, _QUERIES, FLAGS.seed, data_dir=FLAGS.data_dir)
    batch, next_batch = tasks.batch(_TASKS).take(2)
    print("| | relative difference | cosine | CPU seconds, float32 | bfloat16 | cosine, batches |")
    print("|---|---|---|---|---|---|")
    for name, algorithm in ALGORITHMS.items():
        single = learner_of(algorithm(), FLAGS.way, "float32", weights)
        mixed = learner_of(algorithm(), FLAGS.way, "mixed_bfloat16", weights)
        expected = gradient(single, batch)
        distance, cosine = difference(expected, gradient(mixed, batch))
        _, between = difference(expected, gradient(single, next_batch))
        print(
            f"| {name} | {distance:.3f} | {cosine:.4f} | {_seconds(single, batch):.2f} | "
            f"{_seconds(mixed, batch):.2f} | {between:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", None, "TFDS folder with Omniglot.", required=True)
    flags.DEFINE_string("learner", None, "A learner.keras of a run with the same network.")
    flags.DEFINE_integer("way", 20, "Classes of a task.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Of the tasks.", lower_bound=0)
    app.run(main)
