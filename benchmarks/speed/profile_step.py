r"""What a meta-step spends its time on: kernels by kind, of one workload of `meta_step`.

    python -m benchmarks.speed.profile_step --workload=A --cores=1

TensorFlow's own profiler records every kernel; sums over all threads, so that they are seconds of
the processor and not of the clock.
"""

import collections
import glob
import os
import tempfile
import time
from collections.abc import Mapping, Sequence

from absl import app, flags

from benchmarks import machine
from benchmarks.speed import operations
from benchmarks.speed.peers import protocol
from benchmarks.speed.workloads import WORKLOADS, write_problem

FLAGS = flags.FLAGS
_STEPS = 3
_CONTROL = {"While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall"}

flags.DEFINE_enum("workload", "A", list(WORKLOADS), "What is profiled.")
flags.DEFINE_integer("cores", 1, "Cores that work; more disturb one another.", lower_bound=1)
flags.DEFINE_integer("kinds", 15, "Kinds of kernels to show.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the weights and the tasks.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Profile and print a table in Markdown."""
    del argv
    workload = WORKLOADS[FLAGS.workload]
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

    import keras_imaml as ki

    ki.parallel_tasks(FLAGS.cores)
    from benchmarks.speed import ours

    facts = machine.describe()
    print(machine.busy(facts), end="")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "problem.npz")
        write_problem(path, workload, FLAGS.seed)
        worker = ours.build(protocol.read(path))
        milliseconds = _warm(worker)
        kinds, counts = _profile(worker, os.path.join(folder, "profile"))
    matrix = operations.Ceiling()
    ceiling = max(matrix.measure() for _ in range(5))
    flops = operations.meta_step_flops(workload)
    print(f"{FLAGS.workload}: {workload.title}; {FLAGS.cores} of {facts['cores']} cores")
    rate = f"{flops / 1e9:.1f} GFLOP at {ceiling / 1e9:.0f} GFLOP/s"
    print(f"{milliseconds:.0f} ms a step; {rate} take {1e3 * flops / ceiling:.0f} ms\n")
    print("| kernel | ms a step | share | calls |\n|---|---|---|---|")
    total = sum(kinds.values())
    for kind, picoseconds in kinds.most_common(FLAGS.kinds):
        share, calls = 100 * picoseconds / total, counts[kind] // _STEPS
        print(f"| {kind} | {picoseconds / _STEPS / 1e9:.1f} | {share:.0f} % | {calls} |")
    convolutions = sum(v for kind, v in kinds.items() if "Conv" in kind)
    print(f"\nconvolutions: {convolutions / _STEPS / 1e9:.0f} of {total / _STEPS / 1e9:.0f} ms")


def _warm(worker: protocol.Worker) -> float:
    """Milliseconds of a step, after two that are not counted."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        worker.step()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times[2:])[1]


def _profile(
    worker: protocol.Worker, folder: str
) -> tuple[collections.Counter[str], Mapping[str, int]]:
    """Picoseconds and calls of each kind of kernel."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
    with tf.profiler.experimental.Profile(folder, options=options):
        for _ in range(_STEPS):
            worker.step()
    kinds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    (file,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
    space = xplane_pb2.XSpace()
    with open(file, "rb") as stream:
        space.ParseFromString(stream.read())
    for plane in (plane for plane in space.planes if "CPU" in plane.name):
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            operation, _, kind = names[event.metadata_id].rpartition(":")
            # Kernels are recorded as "name:kind"; what runs them as "Class::method".
            if operation and kind.isidentifier() and kind not in _CONTROL and operation[-1] != ":":
                kinds[kind] += event.duration_ps
                counts[kind] += 1
    return kinds, counts


if __name__ == "__main__":
    app.run(main)
