"""Regression of sine waves, the first example of the MAML paper."""

import math
from typing import Any

import tensorflow as tf

from keras_imaml._utils.validation import check_choice, check_number
from keras_imaml.data.class_splits import SPLITS
from keras_imaml.data.streams import Episode, split_key, stream_of_episodes, uniform
from keras_imaml.data.task_sizes import Sizes, check_sizes, of_any_size


def sinusoid(
    split: str = "train",
    shot: Sizes = 10,
    query: Sizes = 10,
    seed: int = 0,
    start: int = 0,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, math.pi),
    x_range: tuple[float, float] = (-5.0, 5.0),
) -> tf.data.Dataset:
    """Episodes of sine waves `y = A sin(x - p)`, one wave an episode.

    Amplitude A, phase p and the points x are uniform in their ranges. The splits draw from the
    same distribution with unrelated random numbers: a wave is seen once and never again.

    Args:
        split: `"train"`, `"validation"` or `"test"`. Defaults to `"train"`.
        shot: Number of support points, at least 1, or the range `(fewest, most)`. Defaults to 10.
        query: Number of query points, at least 1, or a range. Defaults to 10.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        amplitude: Range of A. Defaults to `(0.1, 5.0)`.
        phase: Range of p in radians. Defaults to `(0, pi)`.
        x_range: Range of x in radians. Defaults to `(-5, 5)`.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`, float32
        of shape `(shot, 1)` and `(query, 1)`. With ranges, sets have the largest size, and elements
        have weights as well, 0 for points that are not there.

    Raises:
        ValueError: If a number or a range is not valid.

    Example:

    ```python
    tasks = ki.data.sinusoid(shot=5, query=10, seed=0).batch(25, drop_remainder=True)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    support_x.shape  # (25, 5, 1)
    ```

    References:
        Finn et al., 2017, section 5.1, https://arxiv.org/abs/1703.03400.
    """
    check_choice("split", split, SPLITS)
    shots, queries = check_sizes("shot", shot, 1), check_sizes("query", query, 1)
    most, points = shots[1], shots[1] + queries[1]
    amplitude = _check_range("amplitude", amplitude)
    phase = _check_range("phase", phase)
    x_range = _check_range("x_range", x_range)

    def sample(key: tf.Tensor) -> Episode:
        amplitude_key, phase_key, x_key = split_key(key, 3)
        x = uniform(x_key, [points, 1], *x_range)
        shift = uniform(phase_key, [], *phase)
        y = uniform(amplitude_key, [], *amplitude) * tf.sin(x - shift)
        return (x[:most], y[:most]), (x[most:], y[most:])

    sample_any = of_any_size(sample, shot, query)
    return stream_of_episodes(sample_any, seed, f"sinusoid/{split}", start)


def _check_range(name: str, value: Any) -> tuple[float, float]:
    try:
        low, high = value
        low, high = check_number(name, low, -math.inf), check_number(name, high, low)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Invalid value for `{name}`. Expected a pair of finite numbers (low, high) with "
            f"low <= high. Received: {name}={value!r}"
        ) from error
    return low, high
