"""Structures of inputs and targets: dense tensors, and `()` in the place of None.

`tf.nest` and Keras count None as an entry that functions are called with; `()` holds none.
"""

from typing import Any

import keras
import tensorflow as tf


def as_tensors(structure: Any, name: str = "data") -> Any:
    """Dense tensors in the place of arrays and sparse tensors, and `()` in the place of None.

    Args:
        structure: Arrays or tensors, in any structure.
        name: What it is, for messages. Defaults to `"data"`.

    Raises:
        ValueError: For ragged tensors and for numbers that are in no array.
    """
    return keras.tree.map_structure(lambda part: _tensor(part, name), structure)


def with_none(structure: Any) -> Any:
    """The inverse for `()`: what Keras is called with."""
    if isinstance(structure, (list, tuple)):
        if not structure:
            return None
        parts = [with_none(part) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    if isinstance(structure, dict):
        return {key: with_none(part) for key, part in structure.items()}
    return structure


def symbolic(structure: Any, first_axis: int) -> Any:
    """Keras' symbolic tensors for what `structure` holds, tensors or their specs.

    Args:
        structure: Of any kind that `as_tensors` takes or gives.
        first_axis: How many leading axes become one of any size.

    Raises:
        ValueError: For numbers that are in no array.
    """

    def one(part: Any) -> Any:
        _check_array(part, "data")
        if getattr(part, "shape", None) is None:  # None, or the spec of None
            return None
        return keras.KerasTensor((None, *part.shape[first_axis:]), tf.as_dtype(part.dtype).name)

    return with_none(keras.tree.map_structure(one, structure))


def _tensor(part: Any, name: str) -> Any:
    if part is None:
        return ()
    if isinstance(part, tf.RaggedTensor):
        raise ValueError(
            f"Invalid value for `{name}`. Expected tensors whose examples have one shape: pad them "
            "by `to_tensor()`, and let keras.layers.Masking or Embedding(mask_zero=True) skip what "
            "was added. Tasks of different sizes go one to a meta-batch: `batch(1)`. "
            f"Received: a RaggedTensor of shape {part.shape}"
        )
    if isinstance(part, tf.SparseTensor):
        return tf.ensure_shape(tf.sparse.to_dense(tf.sparse.reorder(part)), part.shape)
    _check_array(part, name)
    return tf.convert_to_tensor(part)


def _check_array(part: Any, name: str) -> None:
    if isinstance(part, (bool, int, float, str)):
        raise ValueError(
            f"Invalid value for `{name}`. Expected arrays or tensors, such as np.asarray(...) of "
            f"lists of numbers. Received: {part!r} in a list or by itself"
        )
