r"""Time our meta-step and those of other frameworks, in one run.

    python -m benchmarks.speed.meta_step --workloads=A,D --peers=torch_loop,jax_task --rounds=10

Every worker gets the same weights and the same tasks, and computes the meta-gradient once; a peer
whose answer differs from ours is not timed. Then they take turns, one meta-step each a round, so
that whatever else the machine does meets them all. `make peers` installs the peers.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import machine
from benchmarks.speed import comparison, operations, workers
from benchmarks.speed.workloads import WORKLOADS, write_problem

FLAGS = flags.FLAGS
_TOLERANCE = 1e-3  # relative difference of meta-gradients
_PAUSE = 0.05  # seconds, in which the threads of the worker before come to rest

flags.DEFINE_list("workloads", ["A"], f"What is measured: some of {', '.join(WORKLOADS)}.")
flags.DEFINE_list("peers", list(workers.PEERS), "Who is measured beside us; empty: nobody.")
flags.DEFINE_integer("rounds", 10, "Timed meta-steps of each.", lower_bound=1)
flags.DEFINE_integer("warmups", 2, "Meta-steps of each before that.", lower_bound=0)
flags.DEFINE_integer("seed", 0, "Of the weights and the tasks.", lower_bound=0)
flags.DEFINE_string("output", "runs/benchmarks/speed.json", "Where the figures go.")
flags.DEFINE_string("peers_python", ".venv-peers/bin/python", "Interpreter of the peers.")
flags.DEFINE_string("against", "torch_loop", "The peer that --at_least is about.")
flags.DEFINE_float("at_least", 0.0, "Fail unless we are this many times faster than --against.")


def main(argv: Sequence[str]) -> None:
    """Measure as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    check_flags()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    folder = os.path.dirname(os.path.abspath(FLAGS.output))
    os.makedirs(folder, exist_ok=True)
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "seed": FLAGS.seed,
        "rounds": FLAGS.rounds,
        "warmups": FLAGS.warmups,
        "versions": {},
        "workloads": {},
    }
    print(machine.busy(result["machine"]), end="", flush=True)
    for letter in FLAGS.workloads:
        figures = measure(letter, folder, result["versions"])
        result["workloads"][letter] = figures
        with open(FLAGS.output, "w", encoding="utf-8") as stream:
            json.dump(result, stream, indent=1)
        print(comparison.table(figures), *comparison.verdicts(figures), sep="\n", flush=True)
    print(f"Written to {FLAGS.output}")
    problems = complaints(result["workloads"])
    if problems:
        raise SystemExit("\n".join(problems))


def check_flags() -> None:
    """Refuse what cannot be measured, before anything is."""
    unknown = [*(set(FLAGS.workloads) - set(WORKLOADS)), *(set(FLAGS.peers) - set(workers.PEERS))]
    if unknown:
        raise app.UsageError(
            f"Unknown: {', '.join(sorted(unknown))}. Expected workloads of "
            f"{', '.join(WORKLOADS)} and peers of {', '.join(workers.PEERS)}"
        )
    if FLAGS.at_least and FLAGS.against not in FLAGS.peers:
        raise app.UsageError(f"--at_least needs --against={FLAGS.against} among --peers")
    if FLAGS.peers and not os.path.exists(FLAGS.peers_python):
        raise app.UsageError(
            f"--peers_python={FLAGS.peers_python} does not exist: run `make peers`, or measure "
            "our meta-step alone with --peers="
        )


def measure(letter: str, folder: str, versions: dict[str, str]) -> dict[str, Any]:
    """Check and time everybody on one workload; the record of it."""
    workload = WORKLOADS[letter]
    print(f"\n{letter}: {workload.title}, {workload.tasks} tasks", flush=True)
    problem = os.path.join(folder, f"problem_{letter}.npz")
    write_problem(problem, workload, FLAGS.seed)
    started: list[workers.Process] = []
    agreeing: list[workers.Process] = []
    differences: dict[str, float] = {}
    try:
        # One after the other: they need the cores.
        for name in (*workers.OWN_WORKERS, *FLAGS.peers):
            worker = workers.Process(name, problem, folder, FLAGS.peers_python)
            started.append(worker)
            if name == "ours":
                reference = worker.answer()
                versions.update(reference.versions)
            else:
                differences[name] = difference(worker, reference.gradient, versions)
            if differences.get(name, 0.0) <= _TOLERANCE:
                agreeing.append(worker)
            else:
                worker.close()
        milliseconds, ceilings = take_turns(agreeing)
    finally:
        for worker in started:
            worker.close()
    return {
        "title": workload.title,
        "relative_differences": differences,
        "diagnostics": reference.notes,
        **comparison.record(milliseconds, operations.meta_step_flops(workload), ceilings),
    }


def difference(worker: workers.Process, reference: np.ndarray, versions: dict[str, str]) -> float:
    """How far the worker's meta-gradient is from ours; infinite if it has none."""
    try:
        answer = worker.answer()
    except workers.WorkerError as error:
        print(f"  {error}  {worker.name} is not timed", flush=True)
        return float("inf")
    versions.update(answer.versions)
    value = workers.relative_difference(answer.gradient, reference)
    print(f"  {worker.name}: meta-gradients differ by {value:.1e}", flush=True)
    if not value <= _TOLERANCE:
        print(f"  {worker.name} is not timed: that is more than {_TOLERANCE:g}", flush=True)
    return value


def take_turns(
    running: Sequence[workers.Process],
) -> tuple[dict[str, list[float]], list[float]]:
    """Times of each worker, and the rate of a matrix product, round after round."""
    ceiling = operations.Ceiling()
    milliseconds: dict[str, list[float]] = {worker.name: [] for worker in running}
    ceilings: list[float] = []
    for number in range(FLAGS.warmups + FLAGS.rounds):
        rate = max(ceiling.measure() for _ in range(3))
        times = {}
        for worker in running:
            time.sleep(_PAUSE)
            times[worker.name] = worker.step()
        time.sleep(_PAUSE)
        if number >= FLAGS.warmups:
            ceilings.append(rate)
            for name, value in times.items():
                milliseconds[name].append(value)
    return milliseconds, ceilings


def complaints(workloads: Mapping[str, Any]) -> list[str]:
    """What makes this run a failure."""
    problems = []
    for letter, figures in workloads.items():
        for name, difference in figures["relative_differences"].items():
            if not difference <= _TOLERANCE:
                problems.append(f"{letter}: {name} disagrees with ours by {difference:.1e}")
        if figures["diagnostics"]["linear_steps"] < WORKLOADS[letter].linear_steps:
            problems.append(f"{letter}: our linear solver stopped early: the work is not the same")
        row = figures["workers"].get(FLAGS.against, {"ratio_to_ours": 0.0})
        if row["ratio_to_ours"] < FLAGS.at_least:
            problems.append(
                f"{letter}: expected to be at least {FLAGS.at_least:g} times faster than "
                f"{FLAGS.against}; it is {row['ratio_to_ours']:.2f}"
            )
    return problems


if __name__ == "__main__":
    app.run(main)
