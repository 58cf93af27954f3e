"""Images of episodes, each turned, scaled, moved or mirrored on its own."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.validation import check_choice, check_integer, check_number
from keras_imaml.data.changed import changed
from keras_imaml.data.streams import random_keys, split_key, uniform

# By Keras' names.
_EDGES = {"empty": "constant", "reflected": "reflect"}


def distorted(
    tasks: tf.data.Dataset,
    angle: float = 10.0,
    zoom: float = 0.1,
    shift: float = 0.1,
    mirror: bool = False,
    light: float = 0.0,
    edges: str = "empty",
    seed: int = 0,
    start: int = 0,
) -> tf.data.Dataset:
    """Distort the images of episodes at random: data augmentation for training tasks.

    It helps where a network memorizes its training images. Every image of a support or query set
    gets its own angle, size and place. Labels stay the same. The defaults suit drawings. For
    photographs use `mirror=True, light=0.3, edges="reflected"`.

    Args:
        tasks: Infinite episodes of images, without a task axis, as the functions of
            `keras_imaml.data` make them: x is `[examples, height, width, channels]`, floating.
        angle: Largest turn to either side, in degrees. Defaults to `10.0`.
        zoom: Largest change of the size, as a share of it, below 1. Defaults to `0.1`.
        shift: Largest move along each axis, as a share of the side. Defaults to `0.1`.
        mirror: Whether to mirror each image with probability 1/2. Defaults to `False`.
        light: Largest change of the strength of each channel, as a share of it, below 1. Defaults
            to `0.0`.
        edges: How to fill pixels from outside of the image: `"empty"` with 0, the background where
            ink is 1; `"reflected"` with the image mirrored at its edge. Defaults to `"empty"`.
        seed: Non-negative integer. Defaults to `0`.
        start: Number of episodes that `tasks` has skipped, so that the distortions match.
            Defaults to `0`.

    Returns:
        A `tf.data.Dataset` like `tasks`.

    Raises:
        ValueError: If a number is out of range, or the inputs are not images.

    Example:

    ```python
    tasks = ki.data.distorted(ki.data.glyphs("train", seed=1), seed=1).batch(16)
    ```
    """
    angle = math.radians(check_number("angle", angle, minimum=0.0))
    shares = {
        "zoom": check_number("zoom", zoom, minimum=0.0),
        "light": check_number("light", light, minimum=0.0),
    }
    for name, share in shares.items():
        if share >= 1:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a share below 1. Received: {name}={share}"
            )
    shift = check_number("shift", shift, minimum=0.0)
    check_choice("edges", edges, tuple(_EDGES))
    (spec, *_), (query_spec, *_) = tasks.element_spec
    for x in (spec, query_spec):
        if not isinstance(x, tf.TensorSpec) or x.shape.rank != 4 or not x.dtype.is_floating:
            raise ValueError(
                "Invalid value for `tasks`. Expected episodes of images, whose x is floating of "
                f"shape [examples, height, width, channels] (no `batch` yet). Received: {x}"
            )

    def change(element: Any, key: tf.Tensor) -> Any:
        (support_x, *support), (query_x, *query) = element
        support_key, query_key = split_key(key, 2)
        support_x, query_x = redrawn(support_x, support_key), redrawn(query_x, query_key)
        return (support_x, *support), (query_x, *query)

    def redrawn(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        places, colors = (key, key) if light == 0 else split_key(key, 2)
        moved = distort(images, places, angle, zoom, shift, mirror, edges)
        return moved if light == 0 else relit(moved, colors, light)

    key_of = random_keys(seed, "distorted")
    start = check_integer("start", start, 0)
    return changed(tasks, lambda element, number: change(element, key_of(number)), start)


def distort(
    images: tf.Tensor,
    key: tf.Tensor,
    angle: float,
    zoom: float,
    shift: float,
    mirror: bool = False,
    edges: str = "empty",
) -> tf.Tensor:
    """Move each image by a random similarity around its center.

    Args:
        images: `[n, height, width, channels]`, floating.
        key: Key of the random numbers, int64 `[2]`.
        angle: Largest turn, in radians.
        zoom: Largest relative change of the size.
        shift: Largest relative move.
        mirror: Whether to mirror each image with probability 1/2.
        edges: `"empty"` or `"reflected"`.
    """
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    turn, size, downward, rightward, side = tf.unstack(
        uniform(key, tf.stack([5, count]), -1.0, 1.0)
    )
    scale = 1 / (1 + zoom * size)
    cosine, sine = scale * tf.cos(angle * turn), scale * tf.sin(angle * turn)
    # A mirrored image counts its columns from the other side of the center.
    flip = tf.where(side > 0, -1.0, 1.0) if mirror else tf.ones_like(side)
    across, up = flip * cosine, flip * sine
    x, y = (width - 1) / 2, (height - 1) / 2
    # From a pixel of the result to its place in the image: about the center, then moved.
    to_x = x - across * x + sine * y + shift * width * rightward
    to_y = y - up * x - cosine * y + shift * height * downward
    zero = tf.zeros_like(turn)
    transforms = tf.stack([across, -sine, to_x, up, cosine, to_y, zero, zero], axis=1)
    moved = keras.ops.image.affine_transform(
        images, transforms, fill_mode=_EDGES[edges], data_format="channels_last"
    )
    return tf.ensure_shape(moved, images.shape)


def relit(images: tf.Tensor, key: tf.Tensor, light: float) -> tf.Tensor:
    """Scale each channel of `images [n, height, width, channels]` by a random factor."""
    count, channels = tf.shape(images)[0], images.shape[3]
    change = uniform(key, tf.stack([count, 1, 1, channels]), -light, light)
    return images * tf.cast(1 + change, images.dtype)
