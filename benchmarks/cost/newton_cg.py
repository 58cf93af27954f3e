r"""Gradients that Newton-CG needs to get as far as gradient descent, on Omniglot tasks.

    python -m benchmarks.cost.newton_cg --data_dir=DIR --run_dir=runs/omniglot

Gradient descent runs for 16, 32, 64 and 128 steps, each number with the constant learning rate that
is best for it. Where it arrives, `||grad G|| / ||grad G_0||` task by task, is what the other
solvers have to reach; their cost is counted in gradients, see `keras_imaml/inner/solution.py`. The
table gives the mean over tasks. A task that does not arrive within half the steps of the largest
number counts with what it has spent, and the figure gets a `>`.

Weights are random, and those of `--run_dir` if it is given (its learner.keras).
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from benchmarks import machine

FLAGS = flags.FLAGS
_SHARE = 1 / 3  # of the gradients of gradient descent: what Newton-CG is asked for

flags.DEFINE_string("data_dir", None, "TFDS folder with Omniglot; without it, drawn glyphs.")
flags.DEFINE_string("run_dir", None, "Folder of a run on 28 x 28 images; without it, random only.")
flags.DEFINE_list("ways", ["20", "5"], "Classes of the tasks at random weights; 1 shot.")
flags.DEFINE_list("strengths", ["2.0", "0.2"], "Values of lambda.")
flags.DEFINE_list("steps", ["16", "32", "64", "128"], "Steps of gradient descent.")
flags.DEFINE_list("rates", ["0.02", "0.03", "0.05", "0.1", "0.2", "0.3", "0.4"], "To choose from.")
flags.DEFINE_integer("tasks", 16, "Tasks to average over.", lower_bound=1)
flags.DEFINE_integer("filters", 64, "Features of Conv4 at random weights.", lower_bound=1)
flags.DEFINE_string("activation", "relu", "Activation of Conv4 at random weights.")
flags.DEFINE_integer("seed", 0, "Of weights and tasks.", lower_bound=0)
flags.DEFINE_string("output", "runs/benchmarks/newton_cg.json", "Where the figures go.")


class Point(NamedTuple):
    """Where a solver was after a number of steps.

    Attributes:
        residual: `[tasks]`, `||grad G|| / ||grad G_0||`.
        cost: `[tasks]`, gradients spent.
        phi: The weights, a tensor `[tasks, size]`.
    """

    residual: np.ndarray
    cost: np.ndarray
    phi: Any


Run = Callable[..., Point]  # (strength, steps[, learning_rate[, start]])


def main(argv: Sequence[str]) -> None:
    """Measure as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    strengths, steps, rates, ways = check_flags()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it finds that a graph for each rate is many
    started = time.perf_counter()
    images = "Omniglot" if FLAGS.data_dir else "glyphs"
    print(f"seed {FLAGS.seed}, {images}, {FLAGS.tasks} tasks of the test classes, 1 shot")
    rows: list[dict[str, Any]] = []
    for title, network in networks(ways):
        runs = solvers(objective(network))
        for strength in strengths:
            print(f"\n{title}, lambda {strength:g}", flush=True)
            results = compare(runs, strength, steps, rates)
            print(table(results), flush=True)
            rows += [{"weights": title, "strength": strength, **row} for row in results]
    os.makedirs(os.path.dirname(os.path.abspath(FLAGS.output)), exist_ok=True)
    facts = {"seed": FLAGS.seed, "images": images, "tasks": FLAGS.tasks, "rows": rows}
    with open(FLAGS.output, "w", encoding="utf-8") as stream:
        json.dump({"machine": machine.describe(), **facts}, stream, indent=1)
    print(f"\nWritten to {FLAGS.output} after {time.perf_counter() - started:.0f} s")


def check_flags() -> tuple[list[float], list[int], list[float], list[int]]:
    """Lambdas, steps, rates and ways as numbers; refuses what is none."""
    for name in ("data_dir", "run_dir"):
        folder = getattr(FLAGS, name)
        if folder is not None and not os.path.isdir(folder):
            raise app.UsageError(f"--{name}={folder} is not a folder")
    if not FLAGS.ways and not FLAGS.run_dir:
        raise app.UsageError("--ways is empty: expected numbers of classes, or a --run_dir")
    strengths = numbers("strengths", float)[::-1]
    steps = numbers("steps", int)
    rates = numbers("rates", float)
    return strengths, steps, rates, numbers("ways", int)[::-1] if FLAGS.ways else []


def numbers(name: str, kind: type) -> list[Any]:
    """The values of a list flag, ascending."""
    texts = getattr(FLAGS, name)
    try:
        results = sorted({kind(text) for text in texts})
    except ValueError:
        results = []
    if not results or not results[0] > 0:
        raise app.UsageError(f"--{name}={','.join(texts)}: expected numbers above 0")
    return results


def networks(ways: Sequence[int]) -> Iterator[tuple[str, Any]]:
    """What the weights are, and the network that has them."""
    import keras_imaml as ki

    import keras

    for way in ways:
        keras.utils.set_random_seed(FLAGS.seed)
        network = ki.models.Conv4(way, filters=FLAGS.filters, activation=FLAGS.activation)
        yield f"{way}-way, random weights", network
    if FLAGS.run_dir:
        learner = keras.saving.load_model(os.path.join(FLAGS.run_dir, "learner.keras"))
        yield f"{learner.model.output_shape[-1]}-way, weights of a run", learner.model


def objective(network: Any) -> Any:
    """The support losses of `--tasks` tasks under a network."""
    import keras_imaml as ki
    from keras_imaml.objectives.task_objective import TaskObjective

    import keras

    sizes = {"way": network.output_shape[-1], "shot": 1, "query": 1, "seed": FLAGS.seed}
    if FLAGS.data_dir:
        episodes = ki.data.omniglot("test", data_dir=FLAGS.data_dir, **sizes)
    else:
        episodes = ki.data.glyphs("test", **sizes)
    learner = ki.MetaLearner(network, ki.IMAML(), transductive=True)
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    task_objective: TaskObjective = learner.objective(next(iter(episodes.batch(FLAGS.tasks))), True)
    return task_objective


def solvers(objective: Any) -> dict[str, Run]:
    """The solvers that are compared."""
    import keras_imaml as ki

    return {
        "gradient descent": runner(objective, ki.inner.GradientDescent()),
        "newton_cg": runner(objective, ki.inner.NewtonCG()),
        "newton_cg, hessian": runner(objective, ki.inner.NewtonCG(curvature="hessian")),
        "nesterov": runner(objective, ki.inner.GradientDescent(momentum=0.9, nesterov=True)),
        "lbfgs": runner(objective, ki.inner.LBFGS()),
    }


def runner(objective: Any, solver: Any) -> Run:
    """A function from lambda and the solver's steps to where it arrives."""
    from keras_imaml._utils.vectors import norm
    from keras_imaml.objectives.inner_problem import InnerProblem

    import tensorflow as tf

    from benchmarks.solvers import with_settings

    parameters = objective.parameters
    theta = parameters.theta()
    begin = parameters.broadcast(theta, objective.tasks.count)

    @tf.function(autograph=False)
    def minimize(
        strength: tf.Tensor, steps: tf.Tensor, start: tf.Tensor, rate: float
    ) -> tuple[tf.Tensor, ...]:
        settings = {"learning_rate": rate} if hasattr(solver, "learning_rate") else {}
        problem = InnerProblem(objective, theta, strength)
        solution = with_settings(solver, steps=steps, **settings).minimize(problem, start)
        initial_norm = norm(problem.gradient(begin))
        return norm(problem.gradient(solution.phi)) / initial_norm, solution.gradients, solution.phi

    def run(strength: float, steps: int, rate: float = 0.1, start: Any = None) -> Point:
        start = begin if start is None else start
        numbers = tf.constant(strength), tf.constant(steps)
        residual, cost, phi = minimize(*numbers, start, rate)  # one trace a rate
        return Point(np.nan_to_num(residual.numpy(), nan=np.inf), cost.numpy().astype(float), phi)

    return run


def compare(
    runs: dict[str, Run], strength: float, steps: Sequence[int], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """One row for each number of steps of gradient descent."""
    reference = descents(runs["gradient descent"], strength, steps, rates)
    budget = max(steps) / 2
    best = sorted({rate for _, rate in reference})
    paths = {}
    for name, run in runs.items():
        settings = [(rate,) for rate in best] if name == "nesterov" else [()]
        if name != "gradient descent":
            paths[name] = [path(run, strength, budget, *choice) for choice in settings]
    rows = []
    for number, (goal, rate) in zip(steps, reference, strict=True):
        row: dict[str, Any] = {
            "gradients": number,
            "learning_rate": rate,
            "residual": float(np.mean(goal.residual)),
        }
        for name, results in paths.items():
            row[name] = min(
                (arrival(points, goal.residual) for points in results),
                key=lambda cost: (cost["missing"], cost["gradients"]),
            )
            row[name]["ratio"] = row[name]["gradients"] / number
            missing = row[name]["missing"]
            row[name]["reached"] = not missing and row[name]["ratio"] <= _SHARE
        rows.append(row)
    return rows


def descents(
    run: Run, strength: float, steps: Sequence[int], rates: Sequence[float]
) -> list[tuple[Point, float]]:
    """Where gradient descent is after each number of steps, and the rate that got it furthest."""
    results: list[list[tuple[Point, float]]] = [[] for _ in steps]
    for rate in rates:
        phi, steps_done = None, 0
        for number, points_of_rates in zip(steps, results, strict=True):
            point = run(strength, number - steps_done, rate, phi)  # from the last point
            phi, steps_done = point.phi, number
            points_of_rates.append((point._replace(phi=None), rate))
    return [
        min(points_of_rates, key=lambda pair: float(np.mean(pair[0].residual)))
        for points_of_rates in results
    ]


def path(run: Run, strength: float, budget: float, *settings: float) -> list[Point]:
    """Points after 1, 2, ... steps (larger strides later on) until the budget is spent."""
    points: list[Point] = []
    steps = 1
    while steps <= budget and not (points and np.min(points[-1].cost) > budget):
        points.append(run(strength, steps, *settings)._replace(phi=None))
        steps += max(1, steps // 6)
    return points


def arrival(points: Sequence[Point], goal: np.ndarray) -> dict[str, Any]:
    """What it costs until the residual is at most `goal [tasks]`, and who does not arrive."""
    residual = np.stack([point.residual for point in points])
    cost = np.stack([point.cost for point in points])
    is_reached = residual <= goal
    is_solved = is_reached.any(axis=0)
    gradients_spent = np.where(
        is_solved, cost[is_reached.argmax(axis=0), np.arange(goal.size)], cost[-1]
    )
    return {"gradients": float(np.mean(gradients_spent)), "missing": int(np.sum(~is_solved))}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of one network and lambda, for people."""
    names = [name for name, value in rows[0].items() if isinstance(value, dict)]
    lines = [f"{'GD':>4}{'rate':>7}{'residual':>10}" + "".join(f"{n:>28}" for n in names)]
    for row in rows:
        line = f"{row['gradients']:>4}{row['learning_rate']:>7g}{row['residual']:>10.1e}"
        for name in names:
            cost = row[name]
            word = "reached" if cost["reached"] else "not reached"
            sign = ">" if cost["missing"] else ""
            line += f"{sign + format(cost['gradients'], '.1f'):>9} {cost['ratio']:>6.2f} {word:>11}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
