"""Episodes of any classification set of TensorFlow Datasets (TFDS)."""

import hashlib
import os
from collections.abc import Mapping, Sequence

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.episodes import Endless
from keras_imaml.data.tfds_source import load_pool, prepared_builder

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}
"""Of the classes, as in mini-ImageNet and CIFAR-FS."""


def from_tfds(
    name: str,
    split: str,
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    seed: int = 0,
    start: int = 0,
    image_size: int = 84,
    channels: int = 3,
    rotations: bool = False,
    class_labels: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    classes: Mapping[str, Sequence[str] | float] | None = None,
    in_memory: bool | None = None,
) -> Endless:
    """Few-shot episodes of an image classification set of TensorFlow Datasets.

    The classes are divided, not the examples: all of TFDS's own splits are read together.

    Args:
        name: Name in TFDS, with features `image` and `label`.
        split: A key of `classes`.
        way: Number of classes of an episode, at least 2. Defaults to 5.
        shot: Number of support examples of a class, at least 1. Defaults to 1.
        query: Number of query examples of a class, at least 1. Defaults to 15.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost. Defaults to 0.
        image_size: Height and width in pixels that images are resized to. Defaults to 84.
        channels: 1 for gray, 3 for RGB. Defaults to 3.
        rotations: As for `keras_imaml.data.from_folder`. Defaults to `False`.
        class_labels: As for `keras_imaml.data.from_folder`. Defaults to `False`.
        data_dir: Folder of TensorFlow Datasets. Defaults to `None`: its default folder.
        classes: For each split the names of its classes, or its share of them. Shares divide the
            classes in an order that depends on their names alone. Defaults to `None`: shares of
            0.64, 0.16 and 0.2 for `"train"`, `"validation"` and `"test"`.
        in_memory: Whether all images of the classes of a split are decoded now and held in memory.
            `False`: an episode reads and decodes the records that it draws, and memory holds their
            places alone. The episodes are the same. Defaults to `None`: up to 1 GiB of pixels are
            held.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`; see
        `keras_imaml.data.from_folder`.

    Raises:
        ValueError: If `split`, `classes` or a number is not valid, or splits share a class.
        OSError: If the data set is missing and cannot be downloaded.

    Example:

    ```python
    tasks = ki.data.from_tfds("eurosat/rgb", "train", way=5, shot=1, image_size=64).batch(4)
    ```
    """
    size = check_integer("image_size", image_size, 1)
    builder = prepared_builder(name, data_dir, host=None)
    features = builder.info.features
    known = {"image", "label"} <= set(features)
    if not known or not hasattr(features["label"], "names"):
        raise ValueError(
            "Invalid value for `name`. Expected a classification set with features `image` and "
            f"`label`. Received: name={name!r} with {sorted(features)}"
        )
    names = classes_of_split(features["label"].names, split, SHARES if classes is None else classes)
    pool = load_pool(builder, "+".join(builder.info.splits), names, size, channels, in_memory)
    stream = f"{name}/{split}"
    return pool.episodes(way, shot, query, seed, stream, rotations, start, class_labels)


def classes_of_split(
    names: Sequence[str], split: str, classes: Mapping[str, Sequence[str] | float]
) -> list[str]:
    """The classes of a split.

    Args:
        names: All classes of the data set.
        split: A key of `classes`.
        classes: As for `from_tfds`.

    Raises:
        ValueError: If splits share a class, or shares are no shares.
    """
    if split not in classes:
        raise ValueError(
            f"Invalid value for `split`. Expected one of {list(classes)}. Received: split={split!r}"
        )
    values = list(classes.values())
    if all(isinstance(value, float | int) for value in values):
        shares = [float(value) for value in values]  # type: ignore[arg-type]
        if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(
                "Invalid value for `classes`. Expected shares above 0 whose sum is at most 1. "
                f"Received: classes={dict(classes)}"
            )
        order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        first = list(classes).index(split)
        begin, end = (round(len(names) * sum(shares[:last])) for last in (first, first + 1))
        return sorted(order[begin:end])
    if any(isinstance(value, str | float | int) for value in values):
        raise ValueError(
            "Invalid value for `classes`. Expected the names of the classes of each split, or the "
            f"share of each. Received: classes={dict(classes)}"
        )
    assigned = [name for value in values for name in value]  # type: ignore[union-attr]
    shared = sorted({name for name in assigned if assigned.count(name) > 1})
    if shared:
        raise ValueError(
            "Invalid value for `classes`. Expected classes that no other split has. "
            f"Received: {shared} more than once"
        )
    return list(classes[split])  # type: ignore[arg-type]
