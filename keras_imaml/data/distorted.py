"""Images of episodes that are turned, scaled and moved a little, each by itself."""

import math
from typing import Any

import tensorflow as tf

from keras_imaml.data.episodes import Endless, split_key, stream_of_episodes, uniform
from keras_imaml.validation import check_number


def distorted(
    tasks: tf.data.Dataset,
    angle: float = 10.0,
    zoom: float = 0.1,
    shift: float = 0.1,
    seed: int = 0,
    start: int = 0,
) -> tf.data.Dataset:
    """Episodes whose images are distorted at random: more drawings of the same classes.

    For training tasks, where a network learns the drawings by heart. Every image of a support and
    query set has a turn, a size and a place of its own; labels stay. What comes from outside an
    image is 0, the background where ink is 1.

    Args:
        tasks: Infinite episodes of images, without a task axis, as the functions of
            `keras_imaml.data` make them: x is `[examples, height, width, channels]`, floating.
        angle: Largest turn to either side, in degrees. Defaults to `10.0`.
        zoom: Largest change of the size, as a share of it, below 1. Defaults to `0.1`.
        shift: Largest move along each axis, as a share of the side. Defaults to `0.1`.
        seed: Non-negative integer. Defaults to `0`.
        start: Number of episodes that `tasks` has passed over; the same distortions follow as
            without. Defaults to `0`.

    Returns:
        A `tf.data.Dataset` like `tasks`.

    Raises:
        ValueError: If a number is out of range, or the inputs are no images.

    Example:

    ```python
    tasks = ki.data.distorted(ki.data.glyphs("train", seed=1), seed=1).batch(16)
    ```
    """
    angle = math.radians(check_number("angle", angle, minimum=0.0))
    zoom = check_number("zoom", zoom, minimum=0.0)
    shift = check_number("shift", shift, minimum=0.0)
    if zoom >= 1:
        raise ValueError(
            f"Invalid value for `zoom`. Expected a share below 1. Received: zoom={zoom}"
        )
    (spec, _), (query_spec, _) = tasks.element_spec
    for x in (spec, query_spec):
        if not isinstance(x, tf.TensorSpec) or x.shape.rank != 4 or not x.dtype.is_floating:
            raise ValueError(
                "Invalid value for `tasks`. Expected episodes of images, whose x is floating of "
                f"shape [examples, height, width, channels] (no `batch` yet). Received: {x}"
            )

    def change(element: Any, key: tf.Tensor) -> Any:
        (support_x, support_y), (query_x, query_y) = element
        first, second = split_key(key, 2)
        return (
            (distort(support_x, first, angle, zoom, shift), support_y),
            (distort(query_x, second, angle, zoom, shift), query_y),
        )

    keys = stream_of_episodes(lambda key: key, seed, "distorted", start)
    both = tf.data.Dataset.zip(tasks, keys)
    return Endless(both.map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))


def distort(
    images: tf.Tensor, key: tf.Tensor, angle: float, zoom: float, shift: float
) -> tf.Tensor:
    """`images [n, height, width, channels]`, each by a random similarity around its centre.

    Args:
        images: Floating.
        key: Of the random numbers, int64 `[2]`.
        angle: Largest turn, in radians.
        zoom: Largest relative change of the size.
        shift: Largest relative move.
    """
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    turn, size, down, right = tf.unstack(uniform(key, tf.stack([4, count]), -1.0, 1.0))
    scale = 1 / (1 + zoom * size)
    cosine, sine = scale * tf.cos(angle * turn), scale * tf.sin(angle * turn)
    x, y = (width - 1) / 2, (height - 1) / 2
    # From a pixel of the result to its place in the image: about the centre, then moved.
    to_x = x - cosine * x + sine * y + shift * width * right
    to_y = y - sine * x - cosine * y + shift * height * down
    zero = tf.zeros_like(turn)
    transforms = tf.stack([cosine, -sine, to_x, sine, cosine, to_y, zero, zero], axis=1)
    return tf.ensure_shape(
        tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=tf.constant([height, width]),
            fill_value=tf.zeros([], tf.float32),
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        ),
        images.shape,
    )
