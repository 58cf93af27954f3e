"""Episodes from arrays in memory."""

import numpy as np
from numpy.typing import ArrayLike

from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    rotations: bool = False,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
) -> Endless:
    """Few-shot episodes from labeled examples.

    Training, validation and test need separate classes. Call this function once for each, with the
    examples of its classes.

    Args:
        images: Examples of shape `(examples, height, width, channels)`, or `(examples, features)`.
            `uint8` is scaled to [0, 1]; floating-point numbers are used as they are, in float32.
        labels: Integers or strings of shape `(examples,)`.
        way: Number of classes of an episode, at least 2, or the range `(fewest, most)`. Defaults
            to 5.
        shot: Number of support examples of a class, at least 1, or a range of which each class
            draws its own number. Defaults to 1.
        query: Number of query examples of a class, at least 1, or a range. Defaults to 15.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        rotations: Whether each class of an episode is turned by a random multiple of 90 degrees.
            Defaults to `False`.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. Each rotation is a class of its own. `keras_imaml.algorithms.Supervised` needs
            these labels, and `dataset.classes` is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 of shape `(way * shot, ...)` and `(way * query, ...)`, y is int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If the arrays do not fit together or hold NaN or infinity, or if there are too
            few classes or examples.

    Example:

    ```python
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype="uint8")
    labels = np.repeat(np.arange(10), 20)
    tasks = ki.data.from_arrays(images, labels, way=5, shot=1, query=15).batch(4)
    ```
    """
    x, y = np.asarray(images), np.asarray(labels)
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            "Invalid value for `images`. Expected at least one example, of shape (examples, "
            "height, width, channels) or (examples, features). Received: images of shape "
            f"{x.shape}"
        )
    if np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float32, copy=False)
        if not np.all(np.isfinite(x)):
            row = int(np.argwhere(~np.isfinite(x))[0, 0])
            raise ValueError(
                "Invalid value for `images`. Expected finite numbers: remove or repair the "
                f"examples that are not. Received: NaN or infinity in images[{row}]"
            )
    elif x.dtype != np.uint8:
        raise ValueError(
            "Invalid value for `images`. Expected uint8 in 0..255, or floating-point numbers: "
            f"convert with astype. Received: images of dtype {x.dtype}"
        )
    if y.shape != x.shape[:1]:
        raise ValueError(
            f"Invalid value for `labels`. Expected one label an example, of shape {x.shape[:1]}. "
            f"Received: labels of shape {y.shape}"
        )
    if y.dtype.kind not in "iuUS":
        raise ValueError(
            "Invalid value for `labels`. Expected integers or strings, not floating-point numbers "
            f"or one-hot rows. Received: labels of dtype {y.dtype}"
        )
    pool = ExamplePool.from_labels(x, y)
    return pool.episodes(
        way, shot, query, seed, "arrays", rotations, start, class_labels, sampler, buckets
    )
