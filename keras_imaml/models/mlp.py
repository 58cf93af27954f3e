"""A multi-layer perceptron, for the sinusoid and other tabular tasks."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_imaml._utils.validation import check_integer


def MLP(  # noqa: N802
    outputs: int = 1,
    input_shape: tuple[int, ...] = (1,),
    hidden: Sequence[int] = (40, 40),
    activation: str = "relu",
    dtype: Any = None,
    name: str = "mlp",
) -> keras.Model:
    """Dense layers with an activation between them, and a linear head.

    Args:
        outputs: Number of outputs. Defaults to `1`.
        input_shape: Shape of one example. Defaults to `(1,)`.
        hidden: Units of each hidden layer. Defaults to `(40, 40)`.
        activation: Activation of the hidden layers. Defaults to `"relu"`.
        dtype: The layers' dtype or policy. Defaults to Keras' global policy.
        name: The model's name. Defaults to `"mlp"`.

    Returns:
        A functional model.

    Example:

    ```python
    network = ki.models.MLP(1, hidden=(40, 40))     # Finn et al., 2017, section 5.1
    ```
    """
    check_integer("outputs", outputs, minimum=1)
    for units in hidden:
        check_integer("hidden", units, minimum=1)
    inputs = keras.Input(input_shape, dtype=keras.dtype_policies.get(dtype).variable_dtype)
    x = inputs
    if len(input_shape) > 1:
        x = keras.layers.Flatten("channels_last", dtype=dtype)(x)
    for number, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, activation=activation, dtype=dtype, name=f"hidden_{number}")(
            x
        )
    return keras.Model(inputs, keras.layers.Dense(outputs, dtype=dtype, name="head")(x), name=name)
