"""Inspect a Keras loss: its name, logits or probabilities, kind of targets."""

import functools
from typing import Any, NamedTuple

import keras

from keras_imaml._compat.keras_attributes import arguments_of

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
    """Whether the targets of a loss (or the first of several) are class numbers.

    So for losses of Keras, whatever they are named. Of others nothing is known.
    """
    return _kind_and_arguments(keras.tree.flatten(loss)[0])[0] == "sparse"


class Classification(NamedTuple):
    """How a loss reads classes.

    Attributes:
        kind: `"sparse"`, `"categorical"` or `"binary"`.
        threshold: The output above which a binary one says yes.
        ignore_class: Labels of this number do not count; None: all count.
        axis: The axis of the classes.
    """

    kind: str
    threshold: float = 0.5
    ignore_class: int | None = None
    axis: int = -1


_BY_SHAPE = ("crossentropy", "ce")  # Keras looks at labels and outputs
_PLAIN = ("sparse_categorical", "categorical")
_KINDS = {
    "sparse_categorical_crossentropy": "sparse",
    "categorical_generalized_cross_entropy": "sparse",
    "categorical_crossentropy": "categorical",
    "categorical_focal_crossentropy": "categorical",
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
}


def classification(loss: Any, labels: Any, outputs: Any) -> Classification | None:
    """How `loss` reads classes; None if it is no cross-entropy of Keras, or one of several.

    Args:
        loss: What `compile` was given.
        labels: The labels, by whose shape Keras resolves `"crossentropy"`.
        outputs: The outputs.
    """
    parts = keras.tree.flatten(loss)
    if len(parts) != 1 or parts[0] is None:
        return None
    if isinstance(parts[0], str) and parts[0].lower() in _BY_SHAPE:
        return Classification(_kind_by_shape(labels, outputs))
    kind, arguments = _kind_and_arguments(parts[0])
    if kind is None:
        return None
    return Classification(
        kind,
        threshold=0.0 if arguments.get("from_logits") else 0.5,
        ignore_class=arguments.get("ignore_class"),
        axis=arguments.get("axis", -1),
    )


def softmax_cross_entropy(loss: Any) -> str | None:
    """`"sparse"` or `"categorical"` for a plain cross-entropy of logits; None for other losses.

    A class without a logit then does not count. With label smoothing it would.
    """
    parts = keras.tree.flatten(loss)
    if len(parts) != 1 or loss_name(parts[0]) == "":
        return None
    kind, arguments = _kind_and_arguments(parts[0])
    plain = arguments.get("axis", -1) == -1 and arguments.get("ignore_class") is None
    plain = plain and not arguments.get("label_smoothing") and bool(arguments.get("from_logits"))
    function = getattr(parts[0], "fn", None)
    named = function in (_function(f"{k}_crossentropy") for k in _PLAIN)
    return kind if plain and named else None


def _kind_and_arguments(loss: Any) -> tuple[str | None, dict[str, Any]]:
    """How a loss of Keras reads classes, or None, and its arguments."""
    arguments: dict[str, Any] = {}
    if isinstance(loss, str):
        loss = None if loss.lower() in _BY_SHAPE else keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        arguments = arguments_of(loss)
        loss = getattr(loss, "fn", None)
    while isinstance(loss, functools.partial):
        loss, arguments = loss.func, {**loss.keywords, **arguments}
    if loss is None:
        return None, arguments
    return next((k for name, k in _KINDS.items() if loss is _function(name)), None), arguments


def _function(name: str) -> Any:
    """A loss of Keras; None in a version that has none of this name."""
    return getattr(keras.losses, name, None)


def _kind_by_shape(labels: Any, outputs: Any) -> str:
    if outputs.shape[-1] == 1:
        return "binary"
    column = labels.shape[-1] == 1 and outputs.shape[-1] > 1
    return "sparse" if labels.shape.rank < outputs.shape.rank or column else "categorical"
