"""At the first step of training: which meta-parameters does the outer loss not depend on?"""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml.meta_parameters.parameters import Parameters


class UnusedParameters:
    """Names the meta-parameters without a gradient, once, instead of training them in silence.

    Args:
        parameters: The split of the network's weights. Those that adapt are the start of every
            task; zeros in their gradients say nothing.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._without: list[str] = []
        self._zero: list[str] = []
        self._told = False

    def note(
        self,
        variables: Sequence[keras.Variable],
        sums: Sequence[Any],
        count: tf.Tensor,
        first: tf.Tensor,
        in_graph: bool,
    ) -> None:
        """Within `train_step`: note gradients that are None, and those of zeros at the first step.

        Args:
            variables: The meta-parameters.
            sums: The gradient of each, or None.
            count: The number of valid tasks; without any, all gradients are zero.
            first: Whether this is the first step.
            in_graph: Whether the step is one that can call Python: not with XLA.
        """
        pairs = list(zip(variables, sums, strict=True))
        self._without = [v.path for v, g in pairs if g is None]
        adapted = {id(v) for v in self._parameters.adapted}
        looked_at = [(v, g) for v, g in pairs if g is not None and id(v) not in adapted]
        if not looked_at or not in_graph or self._told:
            return
        names = [v.path for v, _ in looked_at]

        def kept(flags: tf.Tensor) -> bool:
            self._zero = [name for name, zero in zip(names, flags.numpy(), strict=True) if zero]
            return True

        def keep() -> tf.Tensor:
            flags = [tf.reduce_all(tf.equal(tf.convert_to_tensor(g), 0)) for _, g in looked_at]
            return tf.py_function(kept, [tf.stack(flags)], tf.bool)

        tf.cond(first & (count > 0), keep, lambda: tf.constant(False))

    def report(self) -> None:
        """After the first step, outside of graphs: warn of what was noted, once."""
        if self._told:
            return
        self._told = True
        parts = [
            f"{finding} for {names}"
            for finding, names in (
                ("no gradient", self._without),
                ("a gradient of zero", self._zero),
            )
            if names
        ]
        if parts:
            warnings.warn(
                "The outer loss does not depend on some meta-parameters at the first step, so that "
                "nothing trains them. Expected each to enter the outer loss, or the inner "
                "objective of weights that adapt, which keras_imaml.MAML() and keras_imaml.IMAML() "
                "differentiate and keras_imaml.MAML(first_order=True) leaves out. Set "
                "trainable=False on those that are constants. "
                f"Received: {'; '.join(parts)}",
                stacklevel=3,
            )
