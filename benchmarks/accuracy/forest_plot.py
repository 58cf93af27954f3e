"""The forest plot of `accuracy.tables`: accuracies with intervals, next to published ones."""

import pathlib
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from benchmarks.accuracy.published import DATA_SETS, PUBLISHED, ROWS  # noqa: E402
from benchmarks.accuracy.recipe_lines import Line  # noqa: E402

_OURS, _OTHERS = "#1565c0", "#757575"


def draw(lines: Sequence[Line], path: pathlib.Path) -> None:
    """A panel for each row of the paper's table, with our runs and the published numbers.

    Filled: transductive, as all that is published; hollow: non-transductive.
    """
    figure, axes = pyplot.subplots(3, 2, figsize=(10, 8.5), layout="constrained")
    panels = axes.flatten()
    for ax, row in zip(panels, ROWS, strict=False):
        entries = [(name, getattr(row, field), 0.0) for name, field in PUBLISHED.items()]
        positions = range(len(entries))
        ax.plot([e[1] for e in entries], positions, "s", color=_OTHERS)
        lines_of_row = [line for line in lines if line.row == row]
        for position, line in enumerate(reversed(lines_of_row), start=len(entries)):
            words = "non-transductive" if line.mode.startswith("non") else "transductive"
            entries.append((f"{line.recipe}, {words}", line.accuracy, line.half_width))
            fill = "white" if line.mode.startswith("non") else _OURS
            ax.errorbar(
                line.accuracy,
                position,
                xerr=line.half_width,
                fmt="o",
                capsize=3,
                color=_OURS,
                mfc=fill,
            )
        ax.set_yticks(range(len(entries)), [e[0].removeprefix("published: ") for e in entries])
        ax.margins(y=0.15)
        ax.set_title(f"{DATA_SETS[row.dataset]}, {row.name}", fontsize=11)
        ax.set_xlabel("accuracy on test classes, %")
        ax.grid(alpha=0.2)
    for ax in panels[len(ROWS) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
