"""The defaults of `ki.IMAML` beside tuned settings, at equal steps, on validation tasks.

    python -m benchmarks.accuracy.defaults --output=runs/defaults.json --data_dir=DIR

Trains the same network on each data set with the defaults, and with every pair of a lambda and a
step size of a grid. Prints the validation loss and accuracy of each; "diverged" where a step left
tasks out or the loss is not finite. Results are kept in the file: the same command resumes. Without
a data_dir only the data sets that need no download are run.
"""

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels

import keras
import numpy as np

STRENGTHS = (0.05, 0.2, 0.5, 2.0)
RATES = ("auto", 0.01, 0.03, 0.1, 0.3)
TASKS = 8  # of a meta-batch


def table(split: str) -> Any:
    """Tables of 12 numbers: classes are Gaussian blobs in 4 of 12 directions, scaled unevenly."""
    rng = np.random.default_rng({"train": 0, "validation": 1}[split])
    mixing = np.random.default_rng(2).normal(size=(4, 12)) * np.geomspace(0.1, 10, 12)
    centers = np.repeat(rng.normal(size=(60, 4)), 20, axis=0)
    x = (centers + 0.4 * rng.normal(size=centers.shape)) @ mixing
    labels = np.repeat(np.arange(60), 20)
    return ki.data.from_arrays(x.astype("float32"), labels, way=5, shot=2, query=5, seed=0)


def _images(module: Any, size: int, channels: int, **settings: Any) -> tuple[Callable, Callable]:
    data = lambda split: module(split, way=5, shot=1, query=5, image_size=size, seed=0, **settings)  # noqa: E731
    network = lambda: ki.models.Conv4(5, input_shape=(size, size, channels), filters=32)  # noqa: E731
    return data, network


def problems(data_dir: str | None) -> dict[str, tuple[Callable, Callable]]:
    """By name: what draws the tasks of a split, and what builds the network."""
    by_name = {
        "sinusoid": (
            lambda split: ki.data.sinusoid(split, shot=5, query=10, seed=0),
            lambda: ki.models.MLP(hidden=(40, 40)),
        ),
        "table": (table, lambda: ki.models.MLP(5, (12,), hidden=(40, 40))),
        "glyphs": _images(ki.data.glyphs, 28, 1),
    }
    if data_dir:
        by_name["omniglot"] = _images(ki.data.omniglot, 28, 1, data_dir=data_dir)
        by_name["mini_imagenet"] = _images(ki.data.mini_imagenet, 32, 3, data_dir=data_dir)
    return by_name


def measure(
    data: Callable, network: Callable, algorithm: ki.IMAML, steps: int, tasks: int
) -> dict[str, float]:
    """Train, and evaluate on validation tasks."""
    keras.utils.set_random_seed(0)
    learner = ki.MetaLearner(network(), algorithm)
    regression = learner.model.output_shape[-1] == 1
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(
        keras.optimizers.Adam(3e-3, global_clipnorm=10.0), "mse" if regression else cross_entropy
    )
    meta_batches = data("train").batch(TASKS, drop_remainder=True)
    history = learner.fit(meta_batches, steps_per_epoch=steps, verbose=0).history
    evaluation = ki.evaluate(learner, data("validation").batch(TASKS), tasks, verbose=False)
    figures = {"loss": evaluation.loss, "bad_tasks": history["bad_tasks"][-1]}
    return figures if regression else {**figures, "accuracy": evaluation.accuracy}


def settings() -> dict[str, Callable[[], ki.IMAML]]:
    """The defaults, and the grid."""
    algorithms: dict[str, Callable[[], ki.IMAML]] = {"defaults": ki.IMAML}
    for strength in STRENGTHS:
        for rate in RATES:
            name = f"lambda={strength:g} rate={rate}"
            solver = ki.inner.GradientDescent(learning_rate=rate)
            algorithms[name] = lambda s=strength, inner=solver: ki.IMAML(s, inner)  # type: ignore[misc]
    return algorithms


def main() -> None:
    """Run what the file does not hold yet, and print a table for each data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", default="runs/defaults.json")
    parser.add_argument("--data_dir")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    parser.add_argument("--settings", nargs="*", help="names of settings; all if not given")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=200)
    arguments = parser.parse_args()
    results: dict[str, dict] = {}
    if os.path.exists(arguments.output):
        with open(arguments.output, encoding="utf-8") as stream:
            results = json.load(stream)
    os.makedirs(os.path.dirname(os.path.abspath(arguments.output)), exist_ok=True)
    for problem, (data, network) in problems(arguments.data_dir).items():
        if arguments.only and problem not in arguments.only:
            continue
        rows = results.setdefault(problem, {})
        for name, algorithm in settings().items():
            if name in rows or (arguments.settings and name not in arguments.settings):
                continue
            rows[name] = measure(data, network, algorithm(), arguments.steps, arguments.tasks)
            with open(arguments.output, "w", encoding="utf-8") as stream:
                json.dump(results, stream, indent=1)
        _print(problem, rows)


def _print(problem: str, rows: dict[str, dict]) -> None:
    print(f"\n{problem}, best first")
    order = sorted(rows, key=lambda name: (not np.isfinite(rows[name]["loss"]), rows[name]["loss"]))
    for name in order:
        row = rows[name]
        accuracy = f"{100 * row['accuracy']:6.2f} %" if "accuracy" in row else ""
        bad = f"  {100 * row['bad_tasks']:.0f} % of the tasks diverged" if row["bad_tasks"] else ""
        print(f"  {name:24s} loss {row['loss']:8.4f} {accuracy}{bad}", flush=True)


if __name__ == "__main__":
    main()
