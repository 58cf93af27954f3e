"""The learning rate of the inner level, one per layer or per weight, meta-learned (Meta-SGD)."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_imaml.meta_parameters.positive import PositiveParameter


@keras.saving.register_keras_serializable(package="keras_imaml")
class LearningRate(PositiveParameter):
    """The step size of inner gradient descent, for the model, each layer or each weight.

    Args:
        initial: The step size, in squared weights per unit of loss. A number above 0, or with
            `per="layer"` also a dict from layer name to number, in which `"default"` serves all
            layers that are not named. Defaults to `0.1`.
        per: `"model"`, `"layer"` or `"weight"`. Defaults to `"layer"`.
        learned: Whether the outer level learns it, through the path of the inner steps; needs
            `keras_imaml.MAML`. Defaults to `True`.

    Example:

    ```python
    rate = ki.LearningRate(0.1, per="layer")
    ki.MAML(inner=ki.inner.GradientDescent(steps=5, learning_rate=rate))
    ```

    References:
        Li et al.: Meta-SGD, 2017 (one for each weight); Antoniou et al., 2019 (one per layer).
    """

    role = "learning_rate"

    def __init__(
        self,
        initial: float | Mapping[str, float] = 0.1,
        per: str = "layer",
        learned: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(initial, per, learned, **kwargs)
