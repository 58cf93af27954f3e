"""A layer that mirrors, magnifies or moves images."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._utils.validation import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_imaml")
class View(keras.layers.Layer):
    """Mirror, magnify, move or shrink images.

    For `keras_imaml.seen_in_views`. Values between pixels are interpolated linearly. Where the
    result is smaller, each of its pixels averages the area that it covers. Pixels outside of the
    image are 0.

    Args:
        mirrored: Whether to exchange left and right, before a move. Defaults to `False`.
        zoom: Magnification, above 0. With 1.2, the result shows the middle of the image, 1 / 1.2
            of its side. Defaults to `1.0`.
        down: Pixels by which the image moves down. Defaults to `0.0`.
        right: Pixels by which the image moves right. Defaults to `0.0`.
        size: Height and width of the result. Defaults to `None`: those of the image.
        **kwargs: Other arguments of `keras.layers.Layer`.

    Call arguments:
        images: `[examples, height, width, channels]`, whatever
            `keras.config.image_data_format()` says. The result has the same shape except for
            `size`, and the same dtype if that is floating.

    Example:

    ```python
    ki.layers.View(mirrored=True, zoom=1.2, size=64)(np.random.rand(5, 84, 84, 3)).shape
    ```
    """

    def __init__(
        self,
        mirrored: bool = False,
        zoom: float = 1.0,
        down: float = 0.0,
        right: float = 0.0,
        size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # images keep their dtype
        self.mirrored = bool(mirrored)
        self.zoom = check_number("zoom", zoom, minimum=0.0, exclusive=True)
        self.down = check_number("down", down)
        self.right = check_number("right", right)
        self.size = None if size is None else check_integer("size", size, minimum=1)

    def build(self, input_shape: Any) -> None:
        """Prepare the interpolation of rows and of columns."""
        if len(input_shape) != 4 or None in tuple(input_shape[1:3]):
            raise ValueError(
                "Invalid shape of `images`. Expected [examples, height, width, channels] of a "
                f"known height and width. Received: shape={tuple(input_shape)}"
            )
        _, height, width, _ = input_shape
        self._rows = _interpolation(height, self.size or height, self.zoom, self.down)
        self._columns = _interpolation(width, self.size or width, self.zoom, self.right)
        if self.mirrored:  # before the image moves
            self._columns = self._columns[:, ::-1]
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={1: height, 2: width})
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Interpolate along one axis, then along the other."""
        if not images.dtype.is_floating:
            images = tf.cast(images, tf.float32)
        # The map is linear and separable: one matrix product for each axis. Matrix products
        # vectorize over tasks, and Keras has them as a stock operation too (for export).
        rows, columns = (tf.constant(x, images.dtype) for x in (self._rows, self._columns))
        return tf.einsum("wj,nhjc->nhwc", columns, tf.einsum("hi,nijc->nhjc", rows, images))

    def with_stock_operations(self, images: Any) -> Any:
        """The result of `call` by stock Keras operations, for a functional model."""
        if "float" not in images.dtype:
            images = keras.ops.cast(images, "float32")
        rows, columns = (x.astype(images.dtype) for x in (self._rows, self._columns))
        moved = keras.ops.einsum("hi,nijc->nhjc", rows, images)
        return keras.ops.einsum("wj,nhjc->nhwc", columns, moved)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        names = ("mirrored", "zoom", "down", "right", "size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _interpolation(pixels: int, size: int, zoom: float, move: float) -> np.ndarray:
    """`[size, pixels]`: the weight of each pixel of the image in each pixel of the result."""
    step = pixels / size / zoom  # from one pixel of the result to the next
    positions = (pixels - 1) / 2 + (np.arange(size) - (size - 1) / 2) * step - move
    distances = np.abs(positions[:, None] - np.arange(pixels)[None, :])
    weights = np.maximum(0.0, 1.0 - distances / max(1.0, step))
    is_inside = (positions > -0.5 - 1e-9) & (positions < pixels - 0.5 + 1e-9)
    sums = np.where(is_inside, weights.sum(axis=1), 1.0)
    return weights / sums[:, None] * is_inside[:, None]
