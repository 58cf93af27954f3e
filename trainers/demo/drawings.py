"""From a drawing of any size to what a learner of characters takes."""

import numpy as np
import tensorflow as tf

from trainers.command_line import refuse

_INK = 0.3  # what counts as ink, from 0 to 1


def character(drawing: np.ndarray, size: int) -> np.ndarray:
    """The character in a drawing: centered, ink 1 on background 0.

    It keeps its size, so that all strokes of a pen keep their width, which the learner sees.

    Args:
        drawing: Gray `[height, width]`, from 0 to 255: dark ink on light paper, or light on dark.
        size: Height and width of the result in pixels.

    Returns:
        float32 `[size, size, 1]` in [0, 1].

    Raises:
        ValueError: If there is no ink.

    Example:

    ```python
    drawing = np.full((280, 280), 255, "uint8")
    drawing[100:180, 136:144] = 0
    character(drawing, 32).shape  # (32, 32, 1)
    ```
    """
    ink = 1 - np.asarray(drawing, "float32") / 255
    edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    if np.median(edge) > 0.5:
        ink = 1 - ink
    rows, columns = np.any(ink > _INK, axis=1), np.any(ink > _INK, axis=0)
    if not rows.any():
        refuse("The canvas is empty: draw something first.")
    (top, bottom), (left, right) = (_ends(line) for line in (rows, columns))
    side = max(ink.shape)
    padded = np.pad(ink, side)  # any cut lies in it
    first_row = side + (top + bottom - side) // 2
    first_column = side + (left + right - side) // 2
    cut = padded[first_row : first_row + side, first_column : first_column + side]
    return tf.image.resize(cut[..., None], (size, size), method="area").numpy()


def _ends(line: np.ndarray) -> tuple[int, int]:
    """The first true place, and the one after the last."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1
