"""A linear head whose classes are equal before adaptation."""

from typing import Any

import keras

from keras_imaml._compat.keras_attributes import kernel_variable


@keras.saving.register_keras_serializable(package="keras_imaml")
class SameForAllUnits(keras.constraints.Constraint):
    """Replaces the weights of each unit by their mean over the units, the last axis."""

    def __call__(self, value: Any) -> Any:
        """Constrain `value`, after every step of the outer level."""
        mean = keras.ops.mean(value, axis=-1, keepdims=True)
        return keras.ops.broadcast_to(mean, value.shape)


@keras.saving.register_keras_serializable(package="keras_imaml")
class TiedDense(keras.layers.Dense):
    """A dense layer whose units share one meta-learned weight vector, for any number of classes.

    The numbers of the classes of a task are arbitrary. Weights that are meta-learned for class 0
    alone can therefore only harm. Here all units start a task with one shared vector, and
    adaptation tells them apart. No other layer depends on the number of classes, so that a
    learner trained on 20-way tasks also serves 5-way tasks: see `keras_imaml.with_classes`.

    `MetaLearner.adapt` turns it into a stock `Dense`.

    Args:
        units: Number of outputs.
        kernel_initializer: Defaults to `"zeros"`.
        **kwargs: Other arguments of `keras.layers.Dense`; no constraints.

    Example:

    ```python
    head = ki.layers.TiedDense(5, name="head")
    head(np.random.rand(2, 64)).shape  # (2, 5)
    ```

    References:
        Ye and Chao, 2022, "How to train your MAML to excel in few-shot classification"
        (UNICORN-MAML), section 5.
    """

    computes_as = keras.layers.Dense
    """The class whose fast rule for all tasks at once holds for this layer."""

    def __init__(self, units: int, kernel_initializer: Any = "zeros", **kwargs: Any) -> None:
        for name in ("kernel_constraint", "bias_constraint"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"Invalid value for `{name}`. Expected None: the units are tied by a "
                    f"constraint of their own. Received: {name}={kwargs[name]}"
                )
            kwargs[name] = SameForAllUnits()
        super().__init__(units, kernel_initializer=kernel_initializer, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Create the weights, tied from the start."""
        super().build(input_shape)
        for weight in self._tied():
            weight.assign(weight.constraint(weight))

    def become_stock(self) -> None:
        """Become a stock `Dense` with the weights as they are."""
        for weight in self._tied():
            weight.constraint = None
        self.kernel_constraint = self.bias_constraint = None
        self.__class__ = keras.layers.Dense

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "kernel_constraint": None, "bias_constraint": None}

    def _tied(self) -> list[Any]:
        kernel = kernel_variable(self)
        return [kernel, self.bias] if self.use_bias else [kernel]
