"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each."""

import os

import numpy as np

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.class_splits import read_split
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes
from keras_imaml.data.tfds_source import load_pool, prepared_builder


def omniglot(
    split: str,
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int = 28,
    rotations: bool = True,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
) -> Endless:
    """Few-shot episodes of Omniglot.

    The 1623 characters are split at random, across alphabets, into 1100 for training, 100 for
    validation and 423 for test; the list is part of this package. The images (17 MB) are
    downloaded with TensorFlow Datasets at the first use, then read into memory.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        way: Number of classes of an episode, at least 2, or the range `(fewest, most)`. Defaults
            to 5.
        shot: Number of support examples of a class, at least 1, or a range of which each class
            draws its own number. Defaults to 1.
        query: Number of query examples of a class, at least 1, or a range; without ranges shot +
            query is at most 20. Defaults to 15.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        data_dir: Folder of TensorFlow Datasets. Defaults to `None`: its default folder.
        image_size: Height and width in pixels, at least 8. Defaults to 28.
        rotations: Whether each class of an episode is turned by 0, 90, 180 or 270 degrees, the same
            for its support and query images. Defaults to `True`.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. Each rotation is a class of its own. `keras_imaml.algorithms.Supervised` needs
            these labels, and `dataset.classes` is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 in [0, 1], ink 1, of shape `(way * shot, image_size, image_size, 1)` and
        `(way * query, image_size, image_size, 1)`; y is int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If `split` or a number is not valid.
        OSError: If the data set is missing and cannot be downloaded.

    Example:

    ```python
    tasks = ki.data.omniglot("train", way=5, shot=1).batch(16, drop_remainder=True)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    support_x.shape  # (16, 5, 28, 28, 1)
    ```

    References:
        Lake et al., 2015, https://doi.org/10.1126/science.aab3050; the rotations follow Finn et
        al., 2017, https://arxiv.org/abs/1703.03400.
    """
    names = read_split("omniglot", split)
    size = check_integer("image_size", image_size, 8)
    builder = prepared_builder("omniglot", data_dir, host="github.com")
    # The splits of TFDS are by alphabet; ours are by character and take from both.
    pool = load_pool(builder, "train+test", names, size, channels=1)
    assert isinstance(pool.examples, np.ndarray)
    np.subtract(255, pool.examples, out=pool.examples)  # black ink on white becomes ink 1
    stream = f"omniglot/{split}"
    return pool.episodes(
        way, shot, query, seed, stream, rotations, start, class_labels, sampler, buckets
    )
