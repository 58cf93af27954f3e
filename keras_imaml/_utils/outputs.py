"""Which target and which loss belongs to which output of a network, by the rules of Keras."""

from collections.abc import Sequence
from typing import Any

import keras


def targets_of_outputs(
    targets: Any, outputs: Any, names: Sequence[str] | None, loss: Any = None
) -> Any:
    """Targets in the structure of the outputs, with None where there is none.

    Args:
        targets: As the user gives them: all, or those of the outputs that have a loss.
        outputs: The outputs of the network, in their structure.
        names: Their names in a functional network; None: unknown.
        loss: What `compile` was given. Defaults to `None`.

    Returns:
        The targets; as they are if they fit in no way, of which Keras says more.
    """
    if not keras.tree.is_nested(outputs):
        return targets
    keys = output_keys(outputs, names)
    if isinstance(targets, dict) and keys and set(targets) <= set(keys):
        return keras.tree.pack_sequence_as(outputs, [targets.get(key) for key in keys])
    flat = keras.tree.flatten(targets)
    count = len(keras.tree.flatten(outputs))
    if len(flat) != count:
        losses = losses_of_outputs(loss, outputs, names)
        places = [place for place, part in enumerate(losses) if part is not None]
        if len(flat) != len(places):
            return targets
        by_place = dict(zip(places, flat, strict=True))
        flat = [by_place.get(place) for place in range(count)]
    return keras.tree.pack_sequence_as(outputs, flat)


def losses_of_outputs(loss: Any, outputs: Any, names: Sequence[str] | None) -> list[Any]:
    """The loss of each output, flat; None where there is none."""
    count = len(keras.tree.flatten(outputs))
    if isinstance(loss, dict):
        return [loss.get(key) for key in output_keys(outputs, names) or sorted(loss)]
    if keras.tree.is_nested(loss):
        return list(keras.tree.flatten(loss))
    return [loss] * count


def check_targets_of_metrics(metrics: Any, targets: Any, outputs: Any, names: Any) -> None:
    """Refuse metrics of an output without targets, by a `ValueError`."""
    if not metrics or not keras.tree.is_nested(outputs):
        return
    keys = output_keys(outputs, names) or [str(i) for i in range(len(keras.tree.flatten(outputs)))]
    by_key = dict(zip(keys, keras.tree.flatten(targets), strict=False))
    if isinstance(metrics, dict):
        wanted = [key for key in keys if metrics.get(key)]
    elif isinstance(metrics, (list, tuple)) and len(metrics) == len(keys):
        wanted = [key for key, part in zip(keys, metrics, strict=True) if part]
    else:
        return
    missing = [key for key in wanted if by_key.get(key) is None]
    if missing:
        raise ValueError(
            "Invalid value for `metrics`. Expected metrics of outputs that have targets, which are "
            f"{[key for key in keys if by_key.get(key) is not None]}. Received: metrics of "
            f"{missing}"
        )


def output_keys(outputs: Any, names: Sequence[str] | None) -> list[str] | None:
    """The key or name of each output, in the order in which Keras flattens them."""
    if isinstance(outputs, dict) and not any(map(keras.tree.is_nested, outputs.values())):
        return list(keras.tree.flatten({key: key for key in outputs}))
    count = len(keras.tree.flatten(outputs))
    return list(names) if names and len(names) == count else None
