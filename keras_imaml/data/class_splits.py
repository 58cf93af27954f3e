"""The classes for training, validation and test. Files hold them, so that they never change."""

import functools
import importlib.resources
import json
from typing import Any

from keras_imaml._utils.validation import check_choice

SPLITS = ("train", "validation", "test")


@functools.cache
def _read(dataset: str) -> dict[str, Any]:
    file = importlib.resources.files("keras_imaml.data") / "splits" / f"{dataset}.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def read_split(dataset: str, split: str) -> Any:
    """Read one split from the file of a data set.

    Args:
        dataset: Name of a file in `splits/`, such as `"omniglot"`.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        The list of class names; for `"glyphs"`, the range of class indices.

    Raises:
        ValueError: If `split` is not one of the three.

    Example:

    ```python
    from keras_imaml.data.class_splits import read_split

    len(read_split("cifar_fs", "test"))  # 20
    ```
    """
    return _read(dataset)[check_choice("split", split, SPLITS)]
