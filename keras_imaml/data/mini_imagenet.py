"""mini-ImageNet: 100 classes of ImageNet with 600 images each. The user provides the images."""

import os
import pathlib

from keras_imaml._utils.validation import check_integer
from keras_imaml.data import folder, tfds_source
from keras_imaml.data.class_splits import SPLITS, read_split
from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes

_ADVICE = (
    "mini-ImageNet cannot be downloaded automatically. Pass a folder that holds it, either "
    "prepared by TensorFlow Datasets (`data_dir/mini_imagenet/<version>/`) or as class folders "
    "(`data_dir/train/<class>/*.jpg`, `data_dir/validation/...`, `data_dir/test/...`)."
)


def mini_imagenet(
    split: str,
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int = 84,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
) -> Endless:
    """Few-shot episodes of mini-ImageNet.

    The split of Ravi and Larochelle has 64 classes for training, 16 for validation and 20 for test.
    The images cannot be downloaded automatically. The training images take 0.8 GB of memory, and
    2.4 GB while they are loaded.

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
        data_dir: Folder that holds `mini_imagenet/<version>` as TensorFlow Datasets prepares it, or
            class folders: `train/<class>/*.jpg`, `validation/...` (or `val/...`), `test/...`.
            Defaults to `None`: the default folder of TensorFlow Datasets.
        image_size: Height and width in pixels, at least 8. Defaults to 84.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. `keras_imaml.algorithms.Supervised` needs these labels, and `dataset.classes`
            is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 in [0, 1] of shape `(way * shot, image_size, image_size, 3)` and
        `(way * query, image_size, image_size, 3)`; y is int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If the data is not in `data_dir`, has classes of another split, or a number is
            not valid.

    Example:

    ```python
    tasks = ki.data.mini_imagenet("train", shot=1, data_dir="data").batch(4, drop_remainder=True)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    support_x.shape  # (4, 5, 84, 84, 3)
    ```

    References:
        Vinyals et al., 2016, https://arxiv.org/abs/1606.04080; the split follows Ravi and
        Larochelle, 2017, https://openreview.net/forum?id=rJY0-Kcll.
    """
    names = read_split("mini_imagenet", split)
    size = check_integer("image_size", image_size, 8)
    root = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    if root is not None and not root.is_dir():
        raise ValueError(
            f"Invalid value for `data_dir`. Expected an existing folder. {_ADVICE} "
            f"Received: data_dir={str(data_dir)!r}"
        )
    if root is not None and any((root / name).is_dir() for name in SPLITS):
        pool = _load_class_folders(root, split, size)
    else:
        pool = tfds_source.load_pool(_open_builder(root), split, names, size, channels=3)
    stream = f"mini_imagenet/{split}"
    return pool.episodes(
        way, shot, query, seed, stream, False, start, class_labels, sampler, buckets
    )


def _open_builder(root: pathlib.Path | None) -> object:
    tfds = tfds_source.import_tfds()
    try:
        return tfds.builder("mini_imagenet", data_dir=root)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Invalid value for `data_dir`. Expected a folder with the data set. {_ADVICE} "
            f"Received: data_dir={None if root is None else str(root)!r}"
        ) from error


def _load_class_folders(root: pathlib.Path, split: str, image_size: int) -> ExamplePool:
    classes = folder.split_folder(root, split)
    # Folders may have names of their own, but never that of a class that another split holds.
    present = {entry.name for entry in classes.iterdir()}
    for other_split in SPLITS:
        shared_names = sorted(present.intersection(read_split("mini_imagenet", other_split)))
        if other_split != split and shared_names:
            raise ValueError(
                f"Invalid value for `data_dir`. Expected no class of the {other_split} split among "
                f"those of the {split} split: move it. Received: {str(classes / shared_names[0])!r}"
            )
    return folder.load_pool(classes, image_size, channels=3)
