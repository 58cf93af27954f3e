"""Figure 2 (b) and (c): memory and time of one meta-gradient, each in a process of its own.

    python -m benchmarks.cost.meta_gradient problem.npz imaml 16 3

prints a line of JSON; `imaml:4` computes 4 tasks at a time. The memory is the largest resident size
of the process less what it held with the framework imported, the network built and the tasks read.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import machine

ALGORITHMS = ("maml", "maml_recompute", "fomaml", "imaml")
LINEAR_STEPS = 5
_MEBIBYTE = 1 << 20
_STRENGTH = 2.0
# glibc gives back at once what is freed, so that a process holds what it uses. Takes time.
_GIVE_BACK = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_RATE = 0.05


class CostError(RuntimeError):
    """A process that was to be measured did not answer."""


def write_problem(
    path: str,
    tasks: int,
    way: int,
    shot: int,
    query: int,
    filters: int = 64,
    seed: int = 0,
    data_dir: str | None = None,
) -> str:
    """Write tasks for the processes; says what the images are.

    Args:
        path: An npz file.
        tasks: Of the meta-batch.
        way: Classes a task.
        shot: Support examples per class.
        query: Query examples per class.
        filters: Features of each convolution of Conv4.
        seed: Of tasks and weights.
        data_dir: TFDS folder with Omniglot; without it the images are random.
    """
    rng = np.random.default_rng(seed)
    if data_dir:
        import keras_imaml as ki

        episodes = ki.data.omniglot("train", way, shot, query, seed, data_dir=data_dir)
        (support_x, support_y), (query_x, query_y) = next(episodes.batch(tasks).as_numpy_iterator())
    else:

        def images(rows: int) -> np.ndarray:
            return rng.random((tasks, rows, 28, 28, 1), np.float32)

        def labels(rows: int) -> np.ndarray:
            return np.tile(np.arange(way, dtype=np.int32), (tasks, rows))

        support_x, support_y = images(way * shot), labels(shot)
        query_x, query_y = images(way * query), labels(query)
    np.savez(
        path,
        settings=json.dumps({"way": way, "filters": filters, "seed": seed}),
        support_x=support_x,
        support_y=support_y,
        query_x=query_x,
        query_y=query_y,
    )
    return "Omniglot" if data_dir else "random images of Omniglot's shape"


def run(
    problem: str, algorithm: str, inner_steps: int, repeats: int, give_back: bool = False
) -> dict[str, Any]:
    """Measure in a fresh process; with `give_back` for the memory, and not for the time."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.cost.meta_gradient",
        problem,
        algorithm,
        str(inner_steps),
    ]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": machine.ROOT,
        **(_GIVE_BACK if give_back else {}),
    }
    done = subprocess.run(
        [*command, str(repeats)], capture_output=True, text=True, cwd=machine.ROOT, env=environment
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise CostError(
            f"{algorithm} with {inner_steps} inner steps ended with code {done.returncode}:\n{last}"
        ) from None


def sweep(
    problem: str,
    algorithm: str,
    grid: list[int],
    repeats: int,
    limit: float,
    give_back: bool = False,
) -> Iterator[dict[str, Any]]:
    """A row for each number of inner steps; those that would need too much memory are not run.

    Memory grows no faster than linearly with the steps, and is foretold from the points before.

    Args:
        problem: The file of `write_problem`.
        algorithm: One of `ALGORITHMS`, and behind a colon the tasks that are computed at once.
        grid: Numbers of inner steps, ascending.
        repeats: Timed meta-gradients.
        limit: Gibibytes.
        give_back: See `run`.
    """
    rows: list[dict[str, Any]] = []
    for steps in grid:
        row: dict[str, Any] = {"algorithm": algorithm, "inner_steps": steps}
        expected = _foretell(rows, steps)
        if expected > 1024 * limit:
            row["note"] = f"not run: about {expected / 1024:.1f} GiB, the limit is {limit:g} GiB"
        else:
            row.update(run(problem, algorithm, steps, repeats, give_back), note="")
        rows.append(row)
        yield row


def _foretell(rows: list[dict[str, Any]], steps: int) -> float:
    """Mebibytes at `steps`, on the line through the first and the last point; 0 if unknown."""
    measured = [(row["inner_steps"], row["memory_mib"]) for row in rows if "memory_mib" in row]
    if not measured:
        return 0.0
    (first, low), (last, high) = measured[0], measured[-1]
    slope = max(high - low, 0.0) / (last - first) if last > first else 0.0
    return high + slope * (steps - last)


def _measure(problem: str, algorithm: str, inner_steps: int, repeats: int) -> dict[str, Any]:
    with np.load(problem) as arrays:
        settings = json.loads(str(arrays["settings"]))
        parts = [arrays[name] for name in ("support_x", "support_y", "query_x", "query_y")]

    import keras_imaml as ki
    from keras_imaml.learner.meta_batch import meta_gradient

    import keras
    import tensorflow as tf

    algorithm, _, at_once = algorithm.partition(":")
    support_x, support_y, query_x, query_y = map(tf.constant, parts)
    data = ((support_x, support_y), (query_x, query_y))
    keras.utils.set_random_seed(settings["seed"])
    network = ki.models.Conv4(settings["way"], filters=settings["filters"])
    inner = ki.inner.GradientDescent(inner_steps, _RATE)
    built = {
        "maml": lambda: ki.MAML(inner, proximal_strength=_STRENGTH),
        "maml_recompute": lambda: ki.MAML(inner, proximal_strength=_STRENGTH, recompute=True),
        "fomaml": lambda: ki.MAML(inner, first_order=True, proximal_strength=_STRENGTH),
        # Gauss-Newton is never indefinite: all linear steps are taken.
        "imaml": lambda: ki.IMAML(
            _STRENGTH, inner, ki.linear.ConjugateGradient(LINEAR_STEPS, tolerance=0.0)
        ),
    }[algorithm]()
    learner = ki.MetaLearner(network, built, transductive=True)
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    variables = learner.parameters.adapted
    held, _ = machine.resident()

    @tf.function(autograph=False)
    def compute() -> Any:
        objective = learner.objective(data, training=True)
        meta = meta_gradient(built, objective, variables, int(at_once) if at_once else None)
        return meta.gradients, tf.reduce_all(meta.valid)

    gradients, valid = compute()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        gradients, valid = compute()
        gradients[-1].numpy()
        seconds.append(time.perf_counter() - start)
    _, peak = machine.resident()
    if not valid:
        raise CostError("the meta-gradient is not finite")
    return {
        "memory_mib": max(peak - held, 0) / _MEBIBYTE,
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
    }


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
