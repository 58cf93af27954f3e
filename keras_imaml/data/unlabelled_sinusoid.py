"""Sine waves whose support points have no labels: their place on the x axis reveals the wave."""

import math

import tensorflow as tf

from keras_imaml._utils.validation import check_choice
from keras_imaml.data.class_splits import SPLITS
from keras_imaml.data.streams import split_key, stream_of_episodes, uniform
from keras_imaml.data.task_sizes import Sizes, check_sizes, of_any_size


def unlabelled_sinusoid(
    split: str = "train", shot: Sizes = 5, query: Sizes = 10, seed: int = 0, start: int = 0
) -> tf.data.Dataset:
    """Episodes of `y = sin(x + b)` with b 0 or pi, to be adapted to from inputs alone.

    The support inputs are uniform in [pi/4, pi/2] if b is 0, and in [-pi/2, -pi/4] if b is pi.
    They have no labels. The query inputs are uniform in [-2 pi, 2 pi]. Without
    adaptation the best prediction is y = 0, with a mean squared error of 0.5.

    Args:
        split: `"train"`, `"validation"` or `"test"`. Defaults to `"train"`.
        shot: Number of support points, at least 1, or the range `(fewest, most)`. Defaults to 5.
        query: Number of query points, at least 1, or a range. Defaults to 10.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost. Defaults to 0.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, ()), (query_x, query_y))`, float32 of shape
        `(shot, 1)` and `(query, 1)`. With ranges, sets have the largest size, and elements have
        weights as well, 0 for points that are not there.

    Raises:
        ValueError: If a number is not valid.

    Example:

    ```python
    tasks = ki.data.unlabelled_sinusoid(seed=0).batch(16, drop_remainder=True)
    (support_x, _), (query_x, query_y) = next(iter(tasks))
    ```
    """
    check_choice("split", split, SPLITS)
    shots, queries = check_sizes("shot", shot, 1), check_sizes("query", query, 1)

    def sample(key: tf.Tensor) -> tuple:
        side_key, support_key, query_key = split_key(key, 3)
        flipped = uniform(side_key, []) < 0.5
        support_x = uniform(support_key, [shots[1], 1], math.pi / 4, math.pi / 2)
        support_x = tf.where(flipped, -support_x, support_x)
        query_x = uniform(query_key, [queries[1], 1], -2 * math.pi, 2 * math.pi)
        query_y = tf.where(flipped, -1.0, 1.0) * tf.sin(query_x)
        return (support_x, ()), (query_x, query_y)

    sample_any = of_any_size(sample, shot, query)
    return stream_of_episodes(sample_any, seed, f"unlabelled_sinusoid/{split}", start)
