r"""How long users wait for their first step, and how large the graph of a step is.

    python -m benchmarks.cost.tracing --networks=conv4,lstm --algorithms=imaml,maml

Each row is measured in a process of its own: the time from `fit` to the end of its first step, the
part of it that builds the graph in Python, that of the check of second derivatives, the time of
a later step, and the nodes of the graph.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.machine import ROOT

FLAGS = flags.FLAGS
_STEPS = 5
NETWORKS = ("conv4", "mlp", "lstm", "masked_lstm", "resnet12")
ALGORITHMS = ("imaml", "imaml_hessian", "imaml_newton_cg", "maml", "fomaml", "reptile")

flags.DEFINE_list("networks", list(NETWORKS), f"Some of {', '.join(NETWORKS)}.")
flags.DEFINE_list("algorithms", list(ALGORITHMS), f"Some of {', '.join(ALGORITHMS)}.")
flags.DEFINE_integer("repeats", 1, "Processes of each row; the median is shown.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    del argv
    unknown = {*FLAGS.networks} - {*NETWORKS} | {*FLAGS.algorithms} - {*ALGORITHMS}
    if unknown:
        raise app.UsageError(f"Unknown: {', '.join(sorted(unknown))}. See --help")
    facts = machine.describe()
    print(machine.busy(facts), end="")
    print(f"{facts['cores']} cores of {facts['cpu']}\n")
    print(
        "| network | algorithm | to the first step (s) | tracing (s) | its check (s) | a step (ms) "
        "| nodes |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for network in FLAGS.networks:
        for algorithm in FLAGS.algorithms:
            rows = [_in_a_process(network, algorithm) for _ in range(FLAGS.repeats)]
            first, tracing, check, step = (
                statistics.median(row[key] for row in rows)
                for key in ("first", "tracing", "check", "step")
            )
            print(
                f"| {network} | {algorithm} | {first:.1f} | {tracing:.1f} | {check:.1f} "
                f"| {1e3 * step:.0f} | {rows[0]['nodes']} |",
                flush=True,
            )


def _in_a_process(network: str, algorithm: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.cost.tracing", "--worker", network, algorithm]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT, check=True
    )
    return json.loads(process.stdout.splitlines()[-1])


def measure(network: str, algorithm: str) -> dict[str, Any]:
    """One row, measured in this process."""
    import keras_imaml as ki

    ki.parallel_tasks()
    learner, data = learner_of(network, algorithm)
    times = {}
    step, check = learner.train_step, learner.first_step.check

    def timed(element: Any) -> Any:
        begin = time.perf_counter()
        logs = step(element)
        times["tracing"] = time.perf_counter() - begin
        return logs

    def timed_check() -> None:
        begin = time.perf_counter()
        check()
        times.setdefault("check", time.perf_counter() - begin)

    object.__setattr__(learner, "train_step", timed)
    learner.first_step.check = timed_check
    begin = time.perf_counter()
    learner.fit(data, steps_per_epoch=1, verbose=0)
    times["first"] = time.perf_counter() - begin
    function, batches, durations = learner.train_function, iter(data), []
    for _ in range(_STEPS):
        begin = time.perf_counter()
        float(function(batches)["loss"])
        durations.append(time.perf_counter() - begin)
    return {**times, "step": statistics.median(durations), "nodes": nodes(learner, next(batches))}


def learner_of(network: str, algorithm: str) -> tuple[Any, Any]:
    """A compiled learner of the network, and meta-batches for it without an end."""
    import keras_imaml as ki

    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    tasks, way, shot, query = (4, 3, 1, 3) if network == "resnet12" else (16, 5, 1, 15)
    shape = {"conv4": (28, 28, 1), "mlp": (1,), "resnet12": (32, 32, 3)}.get(network, (20, 3))

    def examples(count: int) -> tuple[Any, Any]:
        x = random.uniform(size=(tasks, count * way, *shape)).astype("float32")
        return x, np.tile(np.arange(way, dtype="int32"), (tasks, count))

    gradient_descent = ki.inner.GradientDescent(16, 0.1)
    chosen = {
        "imaml": lambda: ki.IMAML(inner=gradient_descent),
        "imaml_hessian": lambda: ki.IMAML(inner=gradient_descent, curvature="hessian"),
        "imaml_newton_cg": lambda: ki.IMAML(inner=ki.inner.NewtonCG()),
        "maml": lambda: ki.MAML(),
        "fomaml": lambda: ki.MAML(first_order=True),
        "reptile": lambda: ki.Reptile(),
    }
    learner = ki.MetaLearner(_network(network, way, shape), chosen[algorithm]())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(1e-3), loss, ["accuracy"])
    element = (examples(shot), examples(query))
    return learner, tf.data.Dataset.from_tensors(element).repeat()


def _network(name: str, way: int, shape: tuple[int, ...]) -> Any:
    import keras_imaml as ki

    import keras

    if name == "conv4":
        return ki.models.Conv4(way)
    if name == "mlp":
        return ki.models.MLP(way, shape)
    if name == "resnet12":
        return ki.models.ResNet12(way, shape, (16, 32, 64, 128))
    inputs = keras.Input(shape)
    x = keras.layers.Masking()(inputs) if name == "masked_lstm" else inputs
    return keras.Model(inputs, keras.layers.Dense(way)(keras.layers.LSTM(8)(x)))


def nodes(learner: Any, element: Any) -> int:
    """Nodes of the graph of a training step, with those of the functions that it calls."""
    import tensorflow as tf

    step = tf.function(learner.train_step, autograph=False)
    graph = step.get_concrete_function(element).graph.as_graph_def()
    return len(graph.node) + sum(len(f.node_def) for f in graph.library.function)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        app.run(main)
