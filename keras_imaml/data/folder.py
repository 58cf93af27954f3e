"""Images in class folders: `path/<class>/<image>`, or `path/<split>/<class>/<image>`."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.decoding import NOT_READ, READ, check_pillow, is_tiff
from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.images import check_channels, decode_files, refuse_broken
from keras_imaml.data.stored import of_files, stays_in_files
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes

_HEADS = (b"\x89PNG", b"\xff\xd8", b"BM", b"GIF8", b"II*\x00", b"MM\x00*")  # of WebP, see below
_ALIASES = {"validation": ("validation", "val", "valid")}


def from_folder(
    path: str | os.PathLike[str],
    split: str | None = None,
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    image_size: int = 84,
    channels: int = 3,
    rotations: bool = False,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
    in_memory: bool | None = None,
) -> Endless:
    """Few-shot episodes of the images in class folders.

    Training, validation and test need separate classes, in one folder for each split. A class name
    that appears in two splits is refused: test accuracy would be that of known classes.

    Args:
        path: Folder with one folder for each class, or with one folder for each split.
        split: Name of a folder in `path`, such as `"train"`; `"validation"` may also be called
            `val` or `valid`. Defaults to `None`: the class folders are in `path` itself.
        way: Number of classes of an episode, at least 2, or the range `(fewest, most)`. Defaults
            to 5.
        shot: Number of support examples of a class, at least 1, or a range of which each class
            draws its own number. Defaults to 1.
        query: Number of query examples of a class, at least 1, or a range. Defaults to 15.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        image_size: Height and width in pixels that images are resized to. Defaults to 84.
        channels: 1 for gray, 3 for RGB. Defaults to 3.
        rotations: Whether each class of an episode is turned by a random multiple of 90 degrees.
            Defaults to `False`.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. Each rotation is a class of its own. `keras_imaml.algorithms.Supervised` needs
            these labels, and `dataset.classes` is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.
        in_memory: Whether all images are decoded now and held in memory. `False`: an episode reads
            and decodes the files that it draws, and memory holds their names alone. The episodes
            are the same. Defaults to `None`: up to 1 GiB of pixels are held.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 in [0, 1] of shape `(way * shot, image_size, image_size, channels)` and
        `(way * query, image_size, image_size, channels)`; y is int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If a folder is missing or empty, a file is not an image, a number is not valid,
            there are too few classes or images, or the split shares a class with another.

    Example:

    ```python
    tasks = ki.data.from_folder("birds", "train", way=5, shot=1, query=15).batch(16)
    ```
    """
    root = pathlib.Path(path).expanduser()
    classes = root if split is None else split_folder(root, split)
    if split is not None:
        _check_disjoint(root, classes)
    pool = load_pool(classes, image_size, channels, in_memory)
    stream = "folder" if split is None else f"folder/{split}"
    try:
        return pool.episodes(
            way, shot, query, seed, stream, rotations, start, class_labels, sampler, buckets
        )
    except ValueError as error:  # of numbers that the images do not suffice for
        raise ValueError(f"{error} (images in {str(classes)!r})") from error


def load_examples(
    path: str | os.PathLike[str], image_size: int, channels: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads the images of class folders into memory, classes and files in sorted order.

    Files with other extensions than .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif and .tiff (in any
    case) are skipped, and so are hidden files and folders. Other kinds of images, such as HEIC, are
    refused. TIFF needs Pillow.

    Args:
        path: Folder with one folder for each class.
        image_size: Height and width in pixels that images are resized to.
        channels: 1 for gray, 3 for RGB.

    Returns:
        A tuple `(images, labels, class_names)`: uint8 of shape `(n, image_size, image_size,
        channels)`, int32 of shape `(n,)` that counts the classes from 0, and their names.

    Raises:
        ValueError: If a folder is missing or empty, or a file is not an image that can be read.

    Example:

    ```python
    images, labels, names = ki.data.folder.load_examples("my_task", image_size=84, channels=3)
    ```
    """
    size = _check_image(image_size, channels)
    root = pathlib.Path(path).expanduser()
    files_of, unread = _files_by_class(root)
    files = list(_paths(root, files_of))
    counts = [*map(len, files_of.values())]
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    images = decode_files("path", files, size, channels, unread)
    return images, labels, list(files_of)


def load_pool(
    path: pathlib.Path, image_size: int, channels: int, in_memory: bool | None = True
) -> ExamplePool:
    """The same as an `ExamplePool`, of images in memory or in their files; see `from_folder`."""
    _check_image(image_size, channels)
    files_of, unread = _files_by_class(path)
    count = sum(map(len, files_of.values()))
    if not stays_in_files(in_memory, count, image_size, channels, repr(str(path))):
        images, labels, class_names = load_examples(path, image_size, channels)
        return ExamplePool.from_labels(images, labels, class_names)
    of_tiff = [file for file in _paths(path, files_of) if is_tiff(file)]
    check_pillow("path", of_tiff)
    broken = [file for file in _paths(path, files_of) if not _begins_as_image(file)]
    refuse_broken("path", sorted([*broken, *unread]), "are not images")
    counts = np.array([*map(len, files_of.values())])
    stored = of_files(os.fspath(path), files_of, int(image_size), channels, bool(of_tiff))
    return ExamplePool(stored, counts, tuple(files_of))


def _paths(root: pathlib.Path, files_of: dict[str, list[str]]) -> Iterator[str]:
    return (os.path.join(root, name, file) for name, files in files_of.items() for file in files)


def _check_image(image_size: int, channels: int) -> int:
    check_channels(channels)
    return check_integer("image_size", image_size, 1)


def _begins_as_image(file: str) -> bool:
    """Whether the first bytes are those of a kind that is read."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(_HEADS) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def split_folder(root: pathlib.Path, split: str) -> pathlib.Path:
    """The folder of a split, under any of its usual names."""
    names = _ALIASES.get(split, (split,))
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise ValueError(
        f"Invalid value for `split` or `path`. Expected a folder {' or '.join(map(repr, names))} "
        f"in {str(root)!r}, with one folder for each class. Received: split={split!r}"
    )


def _check_disjoint(root: pathlib.Path, classes: pathlib.Path) -> None:
    """Refuse a split that shares names of classes with another one."""
    for split in ("train", *_ALIASES["validation"], "test"):
        other_folder = root / split
        if other_folder.is_dir() and other_folder != classes:
            shared = sorted(_class_folders(classes).keys() & _class_folders(other_folder).keys())
            if shared:
                raise ValueError(
                    "Invalid value for `path`. Expected class folders that no other split has: "
                    "move the images of a class to one split, or rename folders of different "
                    f"classes. Received: {shared} in {str(classes)!r} and in {str(other_folder)!r}"
                )


def _class_folders(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folders of the classes by name, in sorted order."""
    folders = (entry for entry in root.iterdir() if entry.is_dir() and _is_visible(entry))
    return {folder.name: folder for folder in sorted(folders)}


def _files_by_class(root: pathlib.Path) -> tuple[dict[str, list[str]], list[str]]:
    """The names of the files in each class folder, both in sorted order, and images not read."""
    if not root.is_dir():
        raise ValueError(
            "Invalid value for `path`. Expected an existing folder with one folder for each class. "
            f"Received: path={str(root)!r}"
        )
    folders = _class_folders(root)
    if not folders:
        raise ValueError(
            "Invalid value for `path`. Expected one folder for each class, with its images inside. "
            f"Received: path={str(root)!r}, which has no folders"
        )
    unread: list[str] = []
    files_of: dict[str, list[str]] = {}
    for name, folder in folders.items():
        with os.scandir(folder) as entries:  # of millions of files, paths would fill the memory
            visible = sorted((e.name, e.is_file()) for e in entries if not e.name.startswith("."))
        kinds = [os.path.splitext(file)[1].lower() for file, _ in visible]
        unread += [
            os.path.join(folder, file)
            for (file, _), kind in zip(visible, kinds, strict=True)
            if kind in NOT_READ
        ]
        files_of[name] = [
            file
            for (file, is_file), kind in zip(visible, kinds, strict=True)
            if is_file and kind in READ
        ]
    for name, files in files_of.items():
        if not files and not unread:
            raise ValueError(
                f"Invalid value for `path`. Expected images of the kinds "
                f"{', '.join(READ)} in every class folder: add some, or remove the folder. "
                f"Received: {str(folders[name])!r}, which has none"
            )
    return files_of, unread


def _is_visible(path: pathlib.Path) -> bool:
    return not path.name.startswith(".")
