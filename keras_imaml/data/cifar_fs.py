"""CIFAR-FS: the 100 classes of CIFAR-100 as few-shot tasks."""

import os

from keras_imaml.data.class_splits import read_split
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes
from keras_imaml.data.tfds_source import load_pool, prepared_builder


def cifar_fs(
    split: str,
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
) -> Endless:
    """Few-shot episodes of CIFAR-FS, 32 x 32 color images.

    The published split has 64 classes for training, 16 for validation and 20 for test, 600 images
    each. CIFAR-100 (161 MB) is downloaded with TensorFlow Datasets at the first use, then the
    classes of the split are read into memory.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        way: Number of classes of an episode, at least 2, or the range `(fewest, most)`. Defaults
            to 5.
        shot: Number of support examples of a class, at least 1, or a range of which each class
            draws its own number. Defaults to 1.
        query: Number of query examples of a class, at least 1, or a range. Defaults to 15.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        data_dir: Folder of TensorFlow Datasets. Defaults to `None`: its default folder.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. `keras_imaml.algorithms.Supervised` needs these labels, and `dataset.classes`
            is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 in [0, 1] of shape `(way * shot, 32, 32, 3)` and `(way * query, 32, 32, 3)`; y is
        int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If `split` or a number is not valid.
        OSError: If the data set is missing and cannot be downloaded.

    Example:

    ```python
    tasks = ki.data.cifar_fs("train", way=5, shot=1).batch(4, drop_remainder=True)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    support_x.shape  # (4, 5, 32, 32, 3)
    ```

    References:
        Bertinetto et al., 2019, https://arxiv.org/abs/1805.08136.
    """
    names = read_split("cifar_fs", split)
    builder = prepared_builder("cifar100", data_dir, host="www.cs.toronto.edu")
    pool = load_pool(builder, "train+test", names, image_size=32, channels=3)
    stream = f"cifar_fs/{split}"
    return pool.episodes(
        way, shot, query, seed, stream, False, start, class_labels, sampler, buckets
    )
