"""Inspect a Keras loss: its name, logits or probabilities, kind of targets."""

from typing import Any

import keras

# Losses over several classes; those of a single probability are the binary ones below.
CROSS_ENTROPIES = {
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
}
_NOT_TWICE = {"ctc"}
BINARY_CROSS_ENTROPIES = {"binary_crossentropy", "binary_focal_crossentropy"}


def loss_name(loss: Any) -> str:
    """The name of a Keras loss, however it was given."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))


def check_second_derivative(loss: Any) -> None:
    """Refuse losses without a second derivative, by a `ValueError`."""
    for part in keras.tree.flatten(loss):
        if loss_name(part) in _NOT_TWICE:
            raise ValueError(
                f"Invalid value for `loss`. {part!r} has no second derivative in TensorFlow. "
                "Expected another loss, or an algorithm without second derivatives: "
                "keras_imaml.MAML(first_order=True) or keras_imaml.Reptile(). "
                f"Received: loss={part!r}"
            )


def takes_logits(loss: Any) -> bool:
    """Whether a cross-entropy takes logits instead of probabilities."""
    return bool(getattr(loss, "from_logits", False))


def has_class_numbers(loss: Any) -> bool:
    """Whether the targets of a Keras loss (or the first of several) are class numbers."""
    first_loss = keras.tree.flatten(loss)[0]
    return first_loss is not None and "sparse" in loss_name(first_loss).lower()
