r"""What TensorBoard's logs take from training: the time inside the dashboard beside the steps'.

    python -m benchmarks.cost.logging_cost --workload=glyphs --epochs=3

Seconds of the processor, inside the dashboard's own methods and outside of them in the same
epochs: what else the machine does changes both alike. The first epoch is not counted. What an epoch
ends with (the probe, pictures, histograms) is part of it; what is done once before the first step
(graphs) is printed by itself. `StopOnBadTasks` runs beside it: as with a progress bar, Keras then
reads the logs after every step.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras_imaml as ki

import keras
from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_enum("workload", "glyphs", ["glyphs", "sinusoid"], "What is trained: the presets.")
flags.DEFINE_integer("epochs", 3, "Epochs that count.", lower_bound=1)
flags.DEFINE_integer("steps_per_epoch", 100, "Meta-steps per epoch.", lower_bound=1)
flags.DEFINE_integer("every", 20, "Meta-steps between points of the curves.", lower_bound=1)
flags.DEFINE_integer("cores", 1, "Cores, each with tasks of its own.", lower_bound=1)


class _Timed(keras.callbacks.Callback):
    """Another callback, and the seconds of the processor that its methods take."""

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        super().__init__()
        self.callback = callback
        self.seconds = 0.0
        for name in dir(keras.callbacks.Callback):
            if name.startswith("on_"):
                setattr(self, name, self._timed(getattr(callback, name)))

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def _timed(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            start = time.process_time()
            method(*arguments, **named)
            self.seconds += time.process_time() - start

        return call


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    ki.parallel_tasks(FLAGS.cores)
    keras.utils.set_random_seed(0)
    learner, tasks, probe = _glyphs() if FLAGS.workload == "glyphs" else _sinusoid()
    with tempfile.TemporaryDirectory() as folder:
        timed = _Timed(ki.callbacks.Dashboard(folder, probe, every=FLAGS.every))
        shares = []
        for epoch in range(1 + FLAGS.epochs):
            seconds_before, start = timed.seconds, time.process_time()
            learner.fit(
                tasks,
                steps_per_epoch=FLAGS.steps_per_epoch,
                verbose=0,
                callbacks=[ki.callbacks.StopOnBadTasks(), timed],
            )
            logs = timed.seconds - seconds_before
            steps = time.process_time() - start - logs
            if epoch == 0:
                print(f"once: {logs:.1f} s, most of it for the graphs of the probe", flush=True)
                continue
            shares.append(logs / steps)
            step, log = (1e3 * seconds / FLAGS.steps_per_epoch for seconds in (steps, logs))
            print(
                f"{step:.2f} ms a step, {log:.2f} ms of logs: {100 * shares[-1]:.2f} %", flush=True
            )
    print(f"median {100 * sorted(shares)[len(shares) // 2]:.2f} %")


def _glyphs() -> Any:
    draw = lambda split: ki.data.glyphs(split, way=5, shot=1, query=10, seed=0).batch(16)  # noqa: E731
    inner = ki.inner.GradientDescent(steps=8, learning_rate=0.3)
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=32), ki.IMAML(0.2, inner))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    return learner, draw("train"), draw("validation")


def _sinusoid() -> Any:
    draw = lambda split: ki.data.sinusoid(split, shot=10, query=10, seed=0).batch(25)  # noqa: E731
    learner = ki.MetaLearner(ki.models.MLP(1, (1,)), ki.IMAML(0.5, ki.inner.NewtonCG(4)))
    learner.compile(optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=10.0), loss="mse")
    return learner, draw("train"), draw("validation")


if __name__ == "__main__":
    app.run(main)
