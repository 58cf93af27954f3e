"""Positive meta-parameters: one number for the model, for each layer or for each weight."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._utils.configurable import ShownAsCall
from keras_imaml._utils.validation import check_choice, check_number
from keras_imaml.meta_parameters.parameters import Parameters


class PositiveParameter(ShownAsCall, keras.layers.Layer):
    """A positive number for all of `phi`, for each layer, or for each entry.

    The variable is the logarithm, so that any update of the optimizer keeps the number positive.
    The base class of `ProximalStrength` and `LearningRate`.
    """

    role = "value"
    """The name of the number in messages."""
    reason = ""
    """Why it has to be above 0, as a sentence with a space before it."""

    def __init__(
        self,
        initial: float | Mapping[str, float],
        per: str = "model",
        learned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.per = check_choice("per", per, ("model", "layer", "weight"))
        if isinstance(initial, Mapping):
            if per != "layer":
                raise ValueError(
                    "Invalid value for `initial`. Expected a number unless per='layer'. "
                    f"Received: initial={dict(initial)} with per={per!r}"
                )
            for name, value in initial.items():
                check_number(f"initial[{name!r}]", value, 0.0, exclusive=True, reason=self.reason)
            self.initial: float | dict[str, float] = {k: float(v) for k, v in initial.items()}
        else:
            self.initial = check_number(self.role, initial, 0.0, exclusive=True, reason=self.reason)
        self.learned = bool(learned)
        self.repeats: list[int] | None = None
        self.kept: tuple[Any, Any] | None = None  # what another one learned, and for which groups

    def prepare(self, parameters: Parameters) -> None:
        """Create the variable for these parameters (the learner calls this once)."""
        if hasattr(self, "logarithm"):
            raise ValueError(
                f"Invalid value for `{self.role}`. Expected one of its own for every learner: it "
                f"holds what belongs to one network. Received: {self!r}, which is in use"
            )
        groups = parameters.groups
        if self.per == "layer":
            values = np.array([self._initial_of(group.name) for group in groups])
            self.repeats = [group.size for group in groups]
        else:
            shape = () if self.per == "model" else (parameters.size,)
            values = np.full(shape, self.initial)
        if isinstance(self.initial, dict):
            self._check_names([group.name for group in groups])
        logarithms = np.log(values) if self.kept is None else self._kept_for(groups)
        self.groups = groups
        self.logarithm = self.add_weight(
            name=f"log_{self.role}",
            shape=values.shape,
            initializer=lambda shape, dtype=None: tf.constant(logarithms, dtype),
            dtype=parameters.dtype,
            trainable=self.learned,
        )
        self.built = True

    def __deepcopy__(self, memo: dict) -> "PositiveParameter":
        """A parameter for another learner, with the settings and the values of this one."""
        twin = type(self).from_config({**self.get_config(), "name": self.name})
        if hasattr(self, "logarithm"):
            twin.kept = (
                keras.ops.convert_to_numpy(self.logarithm),
                None if self.per == "model" else self.groups,
            )
        else:
            twin.kept = self.kept
        memo[id(self)] = twin
        return twin

    def _kept_for(self, groups: Any) -> Any:
        assert self.kept is not None
        logarithms, of_groups = self.kept
        if of_groups is not None and [g.size for g in of_groups] != [g.size for g in groups]:
            raise ValueError(
                f"Invalid value for `{self.role}`. Expected a network whose adapted weights are "
                f"those of the learner that it is a copy of, for per={self.per!r}: "
                f"{[group.name for group in of_groups]}. Received: "
                f"{[group.name for group in groups]}"
            )
        return logarithms

    def check_follows(self, parameters: Parameters) -> None:
        """Refuse parameters for which there is no number, after others began or ceased to adapt.

        Raises:
            ValueError: Unless it is one number for the model, or the same weights adapt.
        """
        if self.per != "model" and parameters.groups != self.groups:
            raise ValueError(
                f"Other weights adapt than when this learner was made, and its `{self.role}` has "
                f"a number for each {self.per}. Expected per='model', or another learner: make a "
                "new MetaLearner of the network with an algorithm of its own. Received: "
                f"{[group.name for group in parameters.groups]} adapt, for per={self.per!r} of "
                f"{[group.name for group in self.groups]}"
            )

    def assign(self, value: float) -> None:
        """Set it to a number, the same for all layers and entries."""
        value = check_number(self.role, value, 0.0, exclusive=True, reason=self.reason)
        self.logarithm.assign(np.full(self.logarithm.shape, np.log(value)))

    def value(self) -> tf.Tensor:
        """The number: a scalar, or `[size]`, one for each entry of `phi`."""
        values = tf.exp(tf.convert_to_tensor(self.logarithm.value))
        return values if self.repeats is None else tf.repeat(values, self.repeats)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        return {**config, "initial": self.initial, "per": self.per, "learned": self.learned}

    def _initial_of(self, path: str) -> float:
        if not isinstance(self.initial, dict):
            return self.initial
        for name, value in self.initial.items():
            if f"/{name}/" in f"/{path}/":
                return value
        if "default" not in self.initial:
            raise ValueError(
                "Invalid value for `initial`. Expected a number for every layer, or one under "
                f"'default'. Received: initial={self.initial}, which has none for {path!r}"
            )
        return self.initial["default"]

    def _check_names(self, paths: list[str]) -> None:
        named = set(self.initial) - {"default"}  # type: ignore[arg-type]
        for name in sorted(named):
            if not any(f"/{name}/" in f"/{path}/" for path in paths):
                raise ValueError(
                    "Invalid value for `initial`. Expected names of layers with adapted weights, "
                    f"which are {paths}. Received: {name!r}"
                )
