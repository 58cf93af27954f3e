r"""What TensorBoard's logs take from training: epochs with and without them, in turn.

    python -m benchmarks.logging_cost --workload=glyphs --rounds=3

Both have `StopOnBadTasks`: as with a progress bar, Keras then reads the logs after every step.
Prints seconds of the processor, which other programs on the machine do not change, and the
ratio of every round. What an epoch ends with (the probe, pictures, histograms) is part of it; what
is done once before the first step (graphs) is printed by itself.
"""

import tempfile
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_enum("workload", "glyphs", ["glyphs", "sinusoid"], "What is trained: the presets.")
flags.DEFINE_integer("rounds", 3, "Epochs with, and epochs without.", lower_bound=1)
flags.DEFINE_integer("steps_per_epoch", 100, "Meta-steps an epoch.", lower_bound=1)
flags.DEFINE_integer("every", 20, "Meta-steps between points of the curves.", lower_bound=1)
flags.DEFINE_integer("cores", 1, "Cores, each with tasks of its own.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    del argv
    import keras

    import keras_imaml as ki

    ki.parallel_tasks(FLAGS.cores)
    keras.utils.set_random_seed(0)
    learner, tasks, probe = _glyphs(ki) if FLAGS.workload == "glyphs" else _sinusoid(ki)
    settings = {"steps_per_epoch": FLAGS.steps_per_epoch, "verbose": 0}

    def epoch(*more: Any) -> float:
        start = time.process_time()
        learner.fit(tasks, callbacks=[ki.callbacks.StopOnBadTasks(), *more], **settings)
        return time.process_time() - start

    learner.fit(tasks, steps_per_epoch=2, verbose=0)  # the graph of a step
    with tempfile.TemporaryDirectory() as folder:
        dashboard = ki.callbacks.Dashboard(folder, probe, every=FLAGS.every)
        start = time.process_time()
        dashboard.probe.measure(learner)
        print(f"once: {time.process_time() - start:.1f} s for the graphs of the probe", flush=True)
        ratios = []
        for _ in range(FLAGS.rounds):
            without = epoch()
            with_logs = epoch(dashboard)
            ratios.append(with_logs / without)
            milliseconds = [
                1e3 * seconds / FLAGS.steps_per_epoch for seconds in (without, with_logs)
            ]
            print(
                f"{milliseconds[0]:.2f} ms a step without, {milliseconds[1]:.2f} ms with logs: "
                f"ratio {ratios[-1]:.4f}",
                flush=True,
            )
    print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.4f}")


def _glyphs(ki: Any) -> Any:
    import keras

    draw = lambda split: ki.data.glyphs(split, way=5, shot=1, query=10, seed=0).batch(16)  # noqa: E731
    inner = ki.inner.GradientDescent(steps=8, learning_rate=0.3)
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=32), ki.IMAML(0.2, inner))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    return learner, draw("train"), draw("validation")


def _sinusoid(ki: Any) -> Any:
    import keras

    draw = lambda split: ki.data.sinusoid(split, shot=10, query=10, seed=0).batch(25)  # noqa: E731
    learner = ki.MetaLearner(ki.models.MLP(1, (1,)), ki.IMAML(0.5, ki.inner.NewtonCG(4)))
    learner.compile(optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=10.0), loss="mse")
    return learner, draw("train"), draw("validation")


if __name__ == "__main__":
    app.run(main)
