r"""What several workers cost: a model of computing and communication beside local processes.

    python -m benchmarks.speed.distribution --workers=1,2,3

Each worker is a process with one thread, and all of them meet on the loopback interface. A
meta-step of T tasks and a network of d weights on W workers is modeled as

    compute(T / W) * max(1, W / cores) + exchange(d, W)

where `compute` is the meta-step of one worker alone, and `exchange` one all-reduce of d numbers,
both measured. Prints the model beside the measured step, and what the model gives for a network of
machines, where a ring sends 2 d (W - 1)/W numbers from each.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import keras_imaml as ki
from keras_imaml.distribution import replicas

import keras
import tensorflow as tf
from absl import app, flags

from benchmarks.step_times import StepTimes

FLAGS = flags.FLAGS
_LATENCY = 1e-4  # seconds of a message between machines of one network

flags.DEFINE_list("workers", ["1", "2", "3"], "Numbers of workers.")
flags.DEFINE_integer("tasks", 12, "Tasks of a meta-step, of all workers.", lower_bound=1)
flags.DEFINE_integer("filters", 32, "Filters of the Conv4 network.", lower_bound=1)
flags.DEFINE_integer("steps", 20, "Meta-steps that are timed.", lower_bound=2)
flags.DEFINE_integer("worker", -1, "Internal: this process is the worker of this number.")
flags.DEFINE_list("addresses", [], "Internal: host:port of all workers.")


def main(argv: Sequence[str]) -> None:
    """Measure with each number of workers and print the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.worker >= 0:
        print(json.dumps(_measure()), flush=True)
        return
    counts = [int(w) for w in FLAGS.workers]
    if any(w < 1 or FLAGS.tasks % w for w in counts):
        raise app.UsageError(
            f"--tasks={FLAGS.tasks} cannot be spread evenly over --workers={FLAGS.workers}: "
            "expected numbers that divide it"
        )
    cores = len(os.sched_getaffinity(0))
    size = 0
    print(f"{FLAGS.tasks} tasks a meta-step, Conv4-{FLAGS.filters}, {cores} cores; milliseconds")
    print(
        f"{'workers':>7} {'compute':>9} {'exchange':>9} {'model':>9} {'measured':>9} {'ratio':>6}"
    )
    for workers in counts:
        share = FLAGS.tasks // workers
        single = _launch(1, share)
        joint = _launch(workers, FLAGS.tasks) if workers > 1 else single
        size = joint["size"]
        compute = single["step"] * max(1.0, workers / cores)
        exchange = joint["exchange"] if workers > 1 else 0.0
        model = compute + exchange
        print(
            f"{workers:>7} {1e3 * compute:>9.1f} {1e3 * exchange:>9.1f} {1e3 * model:>9.1f} "
            f"{1e3 * joint['step']:>9.1f} {joint['step'] / model:>6.2f}",
            flush=True,
        )
    _extrapolate(_launch(1, FLAGS.tasks)["step"], size)


def _extrapolate(step: float, size: int) -> None:
    """Machines like this one, one worker each: how much of a step is communication."""
    print(
        f"\nThe model for {FLAGS.tasks} tasks on each of W machines, d = {size} (share of a step)"
    )
    speeds = {"1 Gbit/s": 1.25e8, "10 Gbit/s": 1.25e9}
    print(f"{'W':>7} " + " ".join(f"{name:>12}" for name in speeds))
    for workers in (2, 8, 64):
        sent = 2 * 4 * size * (workers - 1) / workers
        shares = []
        for speed in speeds.values():
            exchange = sent / speed + 2 * (workers - 1) * _LATENCY
            shares.append(exchange / (step + exchange))
        print(f"{workers:>7} " + " ".join(f"{100 * share:>10.1f} %" for share in shares))


def _launch(workers: int, tasks: int) -> dict[str, float]:
    """What the first of some workers has measured."""
    sockets = [socket.socket() for _ in range(workers)]
    for socket_ in sockets:
        socket_.bind(("127.0.0.1", 0))
    addresses = ",".join(f"127.0.0.1:{socket_.getsockname()[1]}" for socket_ in sockets)
    for socket_ in sockets:
        socket_.close()
    shared = [f"--tasks={tasks}", f"--filters={FLAGS.filters}", f"--steps={FLAGS.steps}"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.distribution", f"--worker={i}"]
            + [f"--addresses={addresses}", *shared],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(workers)
    ]
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"A worker has ended with an error:\n{errors[-3000:]}")
    return json.loads(outputs[0][0].splitlines()[-1])


def _measure() -> dict[str, float]:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    has_peers = len(FLAGS.addresses) > 1
    strategy = ki.strategy(
        "multi_worker" if has_peers else "none",
        workers=FLAGS.addresses if has_peers else (),
        worker_index=FLAGS.worker if has_peers else 0,
    )
    keras.utils.set_random_seed(0)
    with strategy.scope():
        learner = ki.MetaLearner(
            ki.models.Conv4(5, filters=FLAGS.filters),
            ki.IMAML(0.5, ki.inner.GradientDescent(steps=8, learning_rate=0.1)),
        )
        learner.compile(
            keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
    times = StepTimes()
    tasks = ki.data.glyphs("train", query=5).take(FLAGS.tasks).cache().repeat().batch(FLAGS.tasks)
    learner.fit(tasks, steps_per_epoch=FLAGS.steps + 3, verbose=0, callbacks=[times])
    size = sum(int(tf.size(v)) for v in learner.trainable_variables)
    return {
        "step": statistics.median(times.seconds[3:]),
        "exchange": _exchange(strategy, size) if has_peers else 0.0,
        "size": size,
    }


def _exchange(strategy: tf.distribute.Strategy, size: int) -> float:
    """The median time of one all-reduce of `size` numbers."""
    gradient = tf.zeros([size])
    reduce = tf.function(
        lambda: strategy.run(
            tf.autograph.experimental.do_not_convert(lambda: replicas.all_reduce_sum(gradient))
        ),
        autograph=False,
    )
    seconds = []
    for _ in range(FLAGS.steps + 3):
        start = time.perf_counter()
        reduce()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


if __name__ == "__main__":
    app.run(main)
