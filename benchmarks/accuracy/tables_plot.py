"""The plots of `accuracy.tables`: learning curves, and accuracy against settings of the test."""

import csv
import itertools
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from benchmarks.accuracy import kept_runs  # noqa: E402
from benchmarks.accuracy.keep_run import CURVE  # noqa: E402

_COLORS = matplotlib.colormaps["tab20"].colors

_PANELS = {
    "inner.steps": "inner steps at test time",
    "inner.linear_steps": "conjugate gradient steps of a Newton step at test time",
    "data.shot": "support examples per class at test time",
    "data": "data set at test time",
}


def draw(runs: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw what there is; return the files."""
    drawn = []
    for name, panels in (("learning_curves.png", _curves), ("robustness.png", _robustness)):
        path = folder / name
        if panels(runs, path):
            drawn.append(path)
    return drawn


def _curves(runs: pathlib.Path, path: pathlib.Path) -> bool:
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for run in kept_runs.folders(runs):
        with open(run / CURVE, encoding="utf-8", newline="") as stream:
            points = [(int(row["steps"]), float(row["accuracy"])) for row in csv.DictReader(stream)]
        if points:  # a run of no steps has none
            curves.setdefault(run.parent.name, []).append(points)
    if not curves:
        return False
    figure, ax = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for color, (recipe, seeds) in zip(itertools.cycle(_COLORS), curves.items(), strict=False):
        for points in seeds:
            steps, accuracies = zip(*points, strict=True)
            label = recipe if points is seeds[0] else None
            errors = [100 - 100 * accuracy for accuracy in accuracies]
            ax.plot(steps, errors, color=color, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("meta-steps")
    ax.set_ylabel("error on the query sets of training tasks, %")
    _finish(figure, ax, path)
    return True


def _robustness(runs: pathlib.Path, path: pathlib.Path) -> bool:
    """Evaluations of one run that differ in one setting of the test."""
    curves: dict[str, dict[str, list[tuple[Any, float, float]]]] = {name: {} for name in _PANELS}
    for recipe, record, changed in kept_runs.evaluations(runs):
        settings = record["settings"]
        mode = kept_runs.mode(record)
        for name in _PANELS:
            if name in settings and changed <= {name, "transductive", "data.way"}:
                label = f"{recipe}, seed {record['seed']}, {settings['data.way']}-way, {mode}"
                point = (settings[name], 100 * record["accuracy"], 100 * record["ci95"])
                curves[name].setdefault(label, []).append(point)
    panels = {
        name: {label: sorted(points) for label, points in curve.items() if _is_curve(points)}
        for name, curve in curves.items()
    }
    panels = {name: curve for name, curve in panels.items() if curve}
    if not panels:
        return False
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4.5), squeeze=False, layout="constrained"
    )
    for ax, (name, lines) in zip(axes[0], panels.items(), strict=True):
        for label, points in lines.items():
            x, y, error = zip(*points, strict=True)
            line = "none" if isinstance(x[0], str) else "-"
            ax.errorbar(x, y, yerr=error, capsize=2, linestyle=line, marker=".", label=label)
        ticks = sorted({point[0] for points in lines.values() for point in points})
        if not isinstance(ticks[0], str):
            ax.set_xscale("log")
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
            ax.minorticks_off()
        ax.set_xlabel(_PANELS[name])
        ax.set_ylabel("accuracy on test classes, %")
        _tidy(ax)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _is_curve(points: list[tuple[Any, float, float]]) -> bool:
    """Numbers need more places than the two that the tables have: 1 and 5 examples per class."""
    return len({point[0] for point in points}) > (1 if isinstance(points[0][0], str) else 2)


def _finish(figure: Any, ax: Axes, path: pathlib.Path) -> None:
    _tidy(ax)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _tidy(ax: Axes) -> None:
    ax.grid(alpha=0.2)
    ax.legend(fontsize=7)
