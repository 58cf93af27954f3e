"""The plots of `benchmarks.tables`: learning curves, and accuracy against settings of the test."""

import json
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorflow import make_ndarray  # noqa: E402

_PANELS = {
    "inner_steps": "inner steps at test time",
    "shot": "support examples a class at test time",
    "dataset": "data set at test time",
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
    curves = {}
    for run in sorted(file.parent for file in runs.glob("*/*/flags.txt")):
        points = _training_accuracy(run)
        if points:
            curves[f"{run.parent.name}, seed {run.name}"] = (points, _steps_per_epoch(run))
    if not curves:
        return False
    figure, ax = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (points, epoch) in curves.items():
        ax.plot(
            [(e + 1) * epoch for e, _ in points], [100 - 100 * a for _, a in points], label=name
        )
    ax.set_yscale("log")
    ax.set_xlabel("meta-steps")
    ax.set_ylabel("error on the query sets of training tasks, %")
    _finish(figure, ax, path)
    return True


def _training_accuracy(run: pathlib.Path) -> list[tuple[int, float]]:
    """Epoch and accuracy, from the TensorBoard logs of a run and of its continuations."""
    found: dict[int, float] = {}
    for file in sorted((run / "logs" / "train").glob("events*")):
        events = EventAccumulator(str(file))
        events.Reload()
        if "epoch_accuracy" in events.Tags()["tensors"]:
            for event in events.Tensors("epoch_accuracy"):
                found[event.step] = float(make_ndarray(event.tensor_proto))
    return sorted(found.items())


def _steps_per_epoch(run: pathlib.Path) -> int:
    return _settings(run)["steps_per_epoch"]


def _settings(run: pathlib.Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))["settings"]


def _robustness(runs: pathlib.Path, path: pathlib.Path) -> bool:
    """Evaluations of one run that differ in one setting of the test."""
    curves: dict[str, dict[str, list[tuple[Any, float, float]]]] = {name: {} for name in _PANELS}
    for run in sorted(file.parent for file in runs.glob("*/*/flags.txt")):
        own = _settings(run)
        for file in sorted(run.glob("evaluation_test*.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            settings = record["settings"]
            changed = {name for name, value in settings.items() if value != own.get(name)}
            mode = "transductive" if record["transductive"] else "non-transductive"
            for name in _PANELS:
                if changed <= {name, "transductive", "way"}:
                    label = f"{run.parent.name}, {settings['way']}-way, {mode}"
                    point = (settings[name], 100 * record["accuracy"], 100 * record["ci95"])
                    curves[name].setdefault(label, []).append(point)
    panels = {
        name: {label: sorted(points) for label, points in found.items() if len(points) > 1}
        for name, found in curves.items()
    }
    panels = {name: found for name, found in panels.items() if found}
    if not panels:
        return False
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4.5), squeeze=False, layout="constrained"
    )
    for ax, (name, found) in zip(axes[0], panels.items(), strict=True):
        for label, points in found.items():
            x, y, error = zip(*points, strict=True)
            line = "none" if isinstance(x[0], str) else "-"
            ax.errorbar(x, y, yerr=error, capsize=2, linestyle=line, marker=".", label=label)
        ticks = sorted({point[0] for points in found.values() for point in points})
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


def _finish(figure: Any, ax: Axes, path: pathlib.Path) -> None:
    _tidy(ax)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _tidy(ax: Axes) -> None:
    ax.grid(alpha=0.2)
    ax.legend(fontsize=7)
