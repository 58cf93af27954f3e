"""Operations that `tf.vectorized_map` cannot vectorize: it loops over the tasks, and we say so.

Tested with TensorFlow 2.20 and 2.21. Without the private interface the loop is as slow, and nothing
is said.
"""

import re
import warnings
from collections.abc import Sequence

from keras_imaml._compat.replacement import CallsNoted

try:
    from tensorflow.python.ops.parallel_for import pfor

    _stock = pfor._fallback_converter
except (ImportError, AttributeError):  # a private interface of TensorFlow: stay silent
    pfor = _stock = None

fallbacks_noted = CallsNoted(
    lambda value: setattr(pfor, "_fallback_converter", value),
    _stock,
    lambda pfor_input, *_, **__: (pfor_input.op.name, pfor_input.op_type),
)
"""Collects `(name of the operation, its type)` of what is not vectorized."""


_UNEVEN = re.compile(
    r"Where|Unique|DynamicPartition|ListDiff|NonMaxSuppression|Ragged|StringSplit|Sparse.*(Slice|Set)"
)


def uneven(kind: str) -> bool:
    """Whether the results of an operation differ in size, so that no stack holds those of tasks."""
    return _UNEVEN.match(kind) is not None


def layers_of(noted: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, str]:
    """The layers that the operations belong to, with the type of the first operation of each.

    Args:
        noted: See `fallbacks_noted`. TensorFlow joins the names of the scopes that an operation
            was made in by slashes; each layer is a scope, and a number may follow its name.
        names: Names of the layers.
    """
    layers: dict[str, str] = {}
    for operation, kind in noted:
        scopes = reversed(operation.split("/")[:-1])
        candidates = (name for scope in scopes for name in (scope, re.sub(r"_\d+$", "", scope)))
        layer = next((name for name in candidates if name in names), "")
        layers.setdefault(layer, kind)
    return layers


def warn(layers: dict[str, str]) -> None:
    """Say that these layers are evaluated one task after the other."""
    for layer, kind in layers.items():
        who = f"The layer {layer!r}" if layer else "A part of the network or of its loss"
        warnings.warn(
            f"{who} is evaluated one task after the other: TensorFlow cannot vectorize its "
            f"{kind if ' ' in kind else f'operation {kind}'}. The results are the same; a step "
            "takes longer.",
            stacklevel=2,
        )
