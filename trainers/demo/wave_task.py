"""Sine waves from points that a visitor clicks: the curve before and after adaptation."""

import dataclasses
import io
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainers.command_line import refuse
from trainers.demo import learners

NAME = "sinusoid"
X_RANGE, Y_RANGE = (-5.0, 5.0), (-5.5, 5.5)
SIZE = (640, 400)  # of the picture, in pixels
MOST_POINTS = 50
STEPS = (0, 8)
STRENGTHS = (-1.0, 4.0)  # powers of ten
_AXES = (0.09, 0.13, 0.89, 0.83)  # left, bottom, width and height, in shares of the picture
_DPI = 100


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves over `x`.

    Attributes:
        x: `[points]`.
        before: Of the meta-learned weights.
        after: Of the adapted ones; None without a point.
        facts: What was computed; None without a point.
    """

    x: np.ndarray
    before: np.ndarray
    after: np.ndarray | None = None
    facts: learners.Facts | None = None


def curves(points: Sequence[tuple[float, float]], strength: float, steps: int) -> Curves:
    """Adapt to points.

    Args:
        points: Pairs `(x, y)`.
        strength: lambda, above 0.
        steps: Inner steps; 0 does not adapt.
    """
    x = np.linspace(*X_RANGE, 201, dtype=np.float32)
    before = learners.before_adaptation(NAME, x[:, None])[:, 0]
    if not points:
        return Curves(x, before)
    model, facts = adapted(points, strength, steps)
    after = np.asarray(model(tf.constant(x[:, None]), training=False))[:, 0]
    return Curves(x, before, after, facts)


def adapted(
    points: Sequence[tuple[float, float]], strength: float, steps: int
) -> tuple[keras.Model, learners.Facts]:
    """The model of a wave, and what was computed; see `curves`."""
    if not points:
        refuse("Click a point first: then there is an adapted model.")
    if not STEPS[0] <= steps <= STEPS[1] or not strength > 0:
        refuse(f"Expected {STEPS[0]} to {STEPS[1]} steps, and a lambda above 0.")
    data = np.array(points, np.float32)
    return learners.adapt(NAME, data[:, :1], data[:, 1:], steps=int(steps), strength=strength)


def point_at(pixel: Sequence[float]) -> tuple[float, float]:
    """The point `(x, y)` of a place in the picture, `(column, row)`."""
    left, bottom, width, height = _AXES
    across = (pixel[0] / SIZE[0] - left) / width
    up = (1 - pixel[1] / SIZE[1] - bottom) / height
    if not (0 <= across <= 1 and 0 <= up <= 1):
        refuse("Click inside the axes.")
    return (
        X_RANGE[0] + across * (X_RANGE[1] - X_RANGE[0]),
        Y_RANGE[0] + up * (Y_RANGE[1] - Y_RANGE[0]),
    )


def pixel_of(point: Sequence[float]) -> tuple[float, float]:
    """The inverse of `point_at`."""
    left, bottom, width, height = _AXES
    across = (point[0] - X_RANGE[0]) / (X_RANGE[1] - X_RANGE[0])
    up = (point[1] - Y_RANGE[0]) / (Y_RANGE[1] - Y_RANGE[0])
    return (SIZE[0] * (left + width * across), SIZE[1] * (1 - bottom - height * up))


def picture(shown: Curves, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """The curves and the points, RGB `[height, width, 3]`, uint8."""
    import PIL.Image
    from matplotlib.figure import Figure  # one that no window system knows

    figure = Figure(figsize=(SIZE[0] / _DPI, SIZE[1] / _DPI), dpi=_DPI)
    axes = figure.add_axes(_AXES)
    axes.set(xlim=X_RANGE, ylim=Y_RANGE, xlabel="x", ylabel="y")
    axes.grid(alpha=0.3)
    axes.plot(shown.x, shown.before, "--", color="#8a8f98", label="before adaptation")
    if shown.after is not None:
        axes.plot(shown.x, shown.after, color="#1f6feb", linewidth=2.5, label="after adaptation")
    if points:
        axes.plot(*zip(*points, strict=True), "o", color="#d1242f", label="your points")
    axes.legend(loc="upper right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return np.asarray(PIL.Image.open(stream).convert("RGB"))
