"""The picture of `benchmarks.paper.figure2`; the one place that needs matplotlib."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

_COLORS = {0: "black", 2: "#d95f02", 5: "#7570b3", 10: "#1b9e77", 20: "#1f77b4"}
_STYLES = {"gradient_descent": "-", "nesterov": "--"}
_NAMES = {
    "maml": "MAML",
    "maml_recompute": "MAML, steps recomputed",
    "fomaml": "first-order MAML",
    "imaml": "iMAML, 5 CG steps",
}
_MARKS = {
    "maml": ("black", "o"),
    "maml_recompute": ("#7570b3", "v"),
    "fomaml": ("#d95f02", "s"),
    "imaml": ("#1f77b4", "^"),
}
_THEORY: dict[str, Any] = {"color": "0.6", "linewidth": 1, "linestyle": ":"}


def draw(
    path: str,
    parts: Sequence[str],
    accuracy: Sequence[dict[str, Any]],
    costs: Sequence[dict[str, Any]],
    images: str,
) -> None:
    """Draw the panels `parts` into the file `path`."""
    figure, axes = pyplot.subplots(
        1, len(parts), figsize=(6.2 * len(parts), 5.4), squeeze=False, layout="constrained"
    )
    for ax, part in zip(axes[0], parts, strict=True):
        if part == "a":
            _accuracy(ax, accuracy)
        else:
            _costs(ax, part, costs)
            ax.set_title(f"{ax.get_title()}\n20-way 5-shot, Conv4-64, {images}", fontsize=10)
        ax.set_xlabel("inner steps")
        ax.grid(alpha=0.2)
        ax.legend(
            fontsize=8, ncols=2 if part == "a" else 1, loc="upper right" if part == "a" else "best"
        )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _accuracy(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    from benchmarks.paper import regression

    for solver, style in _STYLES.items():
        for linear_steps, color in _COLORS.items():
            line = [
                row
                for row in rows
                if (row["inner_solver"], row["linear_steps"]) == (solver, linear_steps)
            ]
            name = f"iMAML, {linear_steps} CG steps" if linear_steps else "MAML"
            ax.plot(
                [row["inner_steps"] for row in line],
                [row["relative_error"] for row in line],
                style,
                color=color,
                marker=".",
                label=name if solver == "gradient_descent" else None,
            )
        # Only the slope is the theory's: the line starts at the error after one step.
        start = next(r for r in rows if r["inner_solver"] == solver and r["linear_steps"] == 20)
        steps = sorted({row["inner_steps"] for row in rows})
        rate = regression.inner_rate(solver, 2) / regression.inner_rate(solver, 1)
        ax.plot(
            steps,
            [start["relative_error"] * rate ** (n - start["inner_steps"]) for n in steps],
            **_THEORY,
        )
        ax.annotate(
            f"{solver.replace('_', ' ')}: {rate:.3f} a step",
            (steps[-1], start["relative_error"] * rate ** (steps[-1] - steps[0])),
            ha="right",
            fontsize=7,
            color="0.4",
        )
        ax.plot([], [], style, color="0.3", label=f"inner: {solver.replace('_', ' ')}")
    root = regression.CONDITION**0.5
    for linear_steps in regression.LINEAR_STEPS:
        floor = 2 * ((root - 1) / (root + 1)) ** linear_steps
        ax.axhline(floor, xmin=0.93, color=_COLORS[linear_steps], linestyle=":")
    ax.plot([], [], ":", color="0.5", label="theory: rates; right margin: CG, 2 q^K")
    ax.set_yscale("log")
    ax.set_ylim(bottom=1e-9)
    ax.set_ylabel("relative error of the meta-gradient")
    ax.set_title(
        f"(a) linear regression, {regression.SIZE} weights, "
        f"lambda {regression.STRENGTH:g}, kappa {regression.CONDITION:g}",
        fontsize=10,
    )


def _costs(ax: Axes, part: str, rows: Sequence[dict[str, Any]]) -> None:
    column, factor = ("memory_mib", 1 / 1024) if part == "b" else ("seconds", 1.0)
    for algorithm, (color, mark) in _MARKS.items():
        line = [row for row in rows if row["algorithm"] == algorithm]
        done = [row for row in line if column in row]
        if not done:
            continue
        xs = [row["inner_steps"] for row in done]
        ys = [factor * row[column] for row in done]
        ax.plot(xs, ys, color=color, marker=mark, label=_NAMES[algorithm])
        if part == "b":
            grid = [row["inner_steps"] for row in line]
            slope = (
                (ys[-1] - ys[0]) / max(xs[-1] - xs[0], 1) if algorithm.startswith("maml") else 0.0
            )
            theory = [ys[0] + slope * (x - xs[0]) for x in grid]
            ax.plot(grid, theory, **{**_THEORY, "color": color})
        missing = [row["inner_steps"] for row in line if column not in row]
        if missing:
            ax.plot([], [], " ", label=f"{_NAMES[algorithm]}: not run at {missing}")
    if part == "b":
        ax.plot([], [], ":", color="0.5", label="theory: O(steps) for MAML, O(1) for the others")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylabel("GiB above the built network" if part == "b" else "seconds a meta-gradient")
    ax.set_title("(b) memory" if part == "b" else "(c) time", fontsize=10)
