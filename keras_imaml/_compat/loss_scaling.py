"""Keras' losses on several replicas, without the division by their number.

Keras divides where it expects a mean over the batch of all replicas. A task is on one replica, so
that its loss is a mean already.

Tested with Keras 3.13 and 3.15. Without it losses and gradients of tasks are too small on several
replicas; `self_check` refuses that.
"""

import contextlib
from typing import Any

from keras_imaml._compat.replacement import CallsNoted, Replacement

try:
    from keras.src.losses import loss as _losses

    _stock = _losses.scale_loss_for_distribution
except (ImportError, AttributeError):
    _losses = _stock = None


def losses_per_replica() -> contextlib.AbstractContextManager:
    """Context in which Keras losses are not divided by the number of replicas."""
    return _replaced


def _put(scale: Any) -> None:
    setattr(_losses, "scale_loss_for_distribution", scale)  # noqa: B010 - as of a module


_replaced = Replacement(_put, lambda value: value, _stock)
scaling_noted = CallsNoted(_put, _stock, lambda *_, **__: True)
"""Collects a True for each loss that asks."""
