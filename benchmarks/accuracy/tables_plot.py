"""The plots of `accuracy.tables`: learning curves, and accuracy against settings of the test."""

import itertools
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import LogFormatter, LogLocator  # noqa: E402

from benchmarks.accuracy import kept_runs, result_files  # noqa: E402
from benchmarks.accuracy.keep_run import CURVE  # noqa: E402
from benchmarks.accuracy.published import DATA_SETS  # noqa: E402

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
    """A panel for each data set and for what adapts, a line for each recipe and seed."""
    panels: dict[str, dict[str, list[dict[int, float]]]] = {}
    for run in kept_runs.folders(runs):
        curve = result_files.learning_curve(run / CURVE)
        if curve:  # a run of no steps has none
            settings = kept_runs.settings_of(run)
            way, shot = settings["data.way"], settings["data.shot"]
            label = f"{run.parent.name}, {way}-way {shot}-shot"
            lines = panels.setdefault(_title(settings), {})
            lines.setdefault(label, []).append(curve)
    if not panels:
        return False
    figure, axes = _row_of(len(panels))
    titles = sorted(panels, key=lambda title: ("mini" in title, title))
    for ax, title in zip(axes, titles, strict=True):
        lines = panels[title]
        for color, (label, seeds) in zip(itertools.cycle(_COLORS), lines.items(), strict=False):
            for curve in seeds:
                errors = [100 - 100 * accuracy for accuracy in curve.values()]
                first = curve is seeds[0]
                ax.plot([*curve], errors, ".-", color=color, label=label if first else None)
        ax.set_title(title)
        ax.loglog()
        ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for set_formatter in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            set_formatter("{x:.0f}")
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        ax.set_xlabel("meta-steps")
        ax.set_ylabel("error on the query sets of training tasks, %")
        _tidy(ax)
    _finish(figure, path)
    return True


def _title(settings: dict[str, Any]) -> str:
    adapted = "the head adapts" if settings["adapt"] else "all weights adapt"
    return f"{DATA_SETS[settings['data']]}, {adapted}"


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
    figure, axes = _row_of(len(panels))
    for ax, (name, lines) in zip(axes, panels.items(), strict=True):
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
    _finish(figure, path)
    return True


def _is_curve(points: list[tuple[Any, float, float]]) -> bool:
    """Numbers need more places than the two that the tables have: 1 and 5 examples per class."""
    return len({point[0] for point in points}) > (1 if isinstance(points[0][0], str) else 2)


def _row_of(panels: int) -> tuple[Figure, list[Axes]]:
    size = (5.5 * panels, 4.5)
    figure, axes = pyplot.subplots(1, panels, figsize=size, squeeze=False, layout="constrained")
    return figure, list(axes[0])


def _finish(figure: Figure, path: pathlib.Path) -> None:
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _tidy(ax: Axes) -> None:
    ax.grid(alpha=0.2)
    ax.legend(fontsize=7)
