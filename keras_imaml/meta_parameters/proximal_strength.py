"""The proximal strength lambda: how firmly the adapted weights are held near theta."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_imaml.meta_parameters.positive import PositiveParameter


@keras.saving.register_keras_serializable(package="keras_imaml")
class ProximalStrength(PositiveParameter):
    """The strength lambda of the term `lambda / 2 ||phi - theta||^2` of the inner objective.

    Args:
        initial: lambda, in units of support loss per squared weight. A number above 0, or with
            `per="layer"` also a dict from layer name (any part of a weight's path) to number,
            in which `"default"` serves all layers that are not named. Defaults to `0.5`.
        per: `"model"`: one number; `"layer"`: one per layer; `"weight"`: one for each number of
            `phi`. Defaults to `"model"`.
        learned: Whether the outer level learns it, by the implicit rule. Defaults to `False`.

    Example:

    ```python
    ki.IMAML(proximal_strength=ki.ProximalStrength(1.0, per="layer", learned=True))
    ```

    References:
        Rajeswaran et al., 2019, section 2.2 (lambda may be learned, and may be a matrix).
    """

    role = "proximal_strength"
    reason = (
        " Without the proximal term the adapted weights do not depend on theta, and the implicit "
        "meta-gradient does not exist."
    )

    def __init__(
        self,
        initial: float | Mapping[str, float] = 0.5,
        per: str = "model",
        learned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(initial, per, learned, **kwargs)
