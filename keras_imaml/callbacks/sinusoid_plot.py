"""A picture of adaptation to sinusoids in TensorBoard."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.keras_attributes import step_counter
from keras_imaml._utils.tracing import Traced


class SinusoidPlot(keras.callbacks.Callback):
    """Draw a learner's fits of some waves, before and after adaptation, into TensorBoard.

    Each row is one task: the wave in gray, the support points in black, the network at the
    meta-learned weights in blue, the adapted network in orange.

    Args:
        tasks: A data set of episodes, such as `keras_imaml.data.sinusoid("validation")`, without
            a task axis.
        log_dir: TensorBoard's folder.
        rows: How many tasks to draw. Defaults to `3`.

    Example:

    ```python
    ki.callbacks.SinusoidPlot(ki.data.sinusoid("validation", query=100), "runs/sine/logs")
    ```
    """

    def __init__(self, tasks: tf.data.Dataset, log_dir: str, rows: int = 3) -> None:
        super().__init__()
        self.episodes = list(tasks.take(rows).as_numpy_iterator())
        self.writer = tf.summary.create_file_writer(os.path.join(log_dir, "sinusoid"))
        self._predict: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw."""
        image = self.draw()
        with self.writer.as_default():
            step = step_counter(self.model.optimizer).numpy()
            tf.summary.image("sinusoid/adaptation", image[None], step=step)
        self.writer.flush()

    def draw(self) -> np.ndarray:
        """The picture, `[height, width, 3]`, uint8."""
        if self._predict is None:
            self._predict = Traced(self.model.adapt_and_predict)
        rows = []
        for support, query in self.episodes:
            (support_x, support_y), (query_x, query_y) = map(_present, (support, query))
            task = map(tf.convert_to_tensor, (support_x, support_y, query_x))
            adapted = self._predict(*task).numpy()
            meta_learned = self.model(query_x).numpy()
            limit = 1.2 * max(np.abs(query_y).max(), np.abs(adapted).max(), 1e-6)
            canvas = _Canvas(query_x.min(), query_x.max(), limit)
            canvas.curve(query_x, query_y, (170, 170, 170))
            canvas.curve(query_x, meta_learned, (66, 133, 244))
            canvas.curve(query_x, adapted, (240, 120, 20))
            canvas.points(support_x, support_y, (0, 0, 0))
            rows.append(canvas.pixels)
        return np.concatenate(rows)


def _present(part: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The points of a set that are there, which weights may tell."""
    x, y, *weights = part
    return (x[weights[0] > 0], y[weights[0] > 0]) if weights else (x, y)


class _Canvas:
    """Pixels with axes; enough for a few curves, without a plotting library."""

    def __init__(self, low: float, high: float, limit: float, size: tuple = (160, 480)) -> None:
        self.pixels = np.full((*size, 3), 255, np.uint8)
        self.low, self.high, self.limit = float(low), float(high), float(limit)
        self.pixels[size[0] // 2, :] = 225

    def curve(self, x: np.ndarray, y: np.ndarray, color: tuple[int, int, int]) -> None:
        order = np.argsort(x[:, 0])
        dense = np.linspace(self.low, self.high, 4 * self.pixels.shape[1])
        self._put(dense, np.interp(dense, x[order, 0], y[order, 0]), color, 1)

    def points(self, x: np.ndarray, y: np.ndarray, color: tuple[int, int, int]) -> None:
        self._put(x[:, 0], y[:, 0], color, 3)

    def _put(self, x: np.ndarray, y: np.ndarray, color: tuple, radius: int) -> None:
        height, width, _ = self.pixels.shape
        column = np.rint((x - self.low) / (self.high - self.low) * (width - 1)).astype(int)
        row = np.rint((1 - y / self.limit) * (height - 1) / 2).astype(int)
        for down in range(-radius + 1, radius):
            for right in range(-radius + 1, radius):
                r, c = row + down, column + right
                inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
                self.pixels[r[inside], c[inside]] = color
