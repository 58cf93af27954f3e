"""What a file holds of a learner, and how it becomes one again."""

from typing import Any

import keras

from keras_imaml._compat.lora import enable_lora, lora_settings
from keras_imaml._compat.random_streams import RandomStreams
from keras_imaml.algorithms import Algorithm
from keras_imaml.learner.mixin import ModelMixin
from keras_imaml.meta_parameters.parameters import (
    Adapt,
    Parameters,
    adapted_indices,
    at_indices,
    freeze,
    frozen_indices,
)
from keras_imaml.objectives.learned_loss import LearnedLoss


class SavedLearner(ModelMixin):
    """A mixin of `MetaLearner`, which writes and reads its settings."""

    model: keras.Model
    algorithm: Algorithm
    adapt_spec: Adapt
    parameters: Parameters
    learned_loss: LearnedLoss | None
    tasks_per_chunk: int | None
    transductive: bool
    random_streams: RandomStreams
    checks_curvature: bool
    loss: Any
    inner_loss: Any
    outer_penalties: bool

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor. A predicate for `adapt` becomes a list of places."""
        adapt: Any = self.adapt_spec
        if callable(adapt):
            adapt = adapted_indices(self.parameters)
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "algorithm": keras.saving.serialize_keras_object(self.algorithm),
            "adapt": adapt,
            "transductive": self.transductive,
            "tasks_per_chunk": self.tasks_per_chunk,
            "learned_loss": keras.saving.serialize_keras_object(self.learned_loss),
            "lora": lora_settings(self.model),
            "frozen": frozen_indices(self.model),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The inverse of `get_config`."""
        config = dict(config)
        for name in ("model", "algorithm", "learned_loss"):
            config[name] = keras.saving.deserialize_keras_object(config.get(name), custom_objects)
        enable_lora(config["model"], config.pop("lora", []))
        freeze(config["model"], config.pop("frozen", []))
        adapt = config["adapt"]
        if isinstance(adapt, (list, tuple)) and isinstance(adapt[0], int):
            config["adapt"] = at_indices(config["model"], adapt)
        return cls(**config)

    def save_own_variables(self, store: Any) -> None:
        """What a file holds beside the layers: where draws without a seed go on."""
        super().save_own_variables(store)
        store["unseeded"] = self.random_streams.unseeded.state.numpy()
        if self._loss_variables:
            store["loss_variables"] = len(self._loss_variables)

    def load_own_variables(self, store: Any) -> None:
        """The inverse of `save_own_variables`."""
        held = {name: store[name] for name in store.keys()}  # noqa: SIM118
        if "unseeded" in held:
            self.random_streams.unseeded.state.assign(held.pop("unseeded"))
        number = int(held.pop("loss_variables", 0))
        if number != len(self._loss_variables):
            raise ValueError(
                "The file holds other variables of an inner loss than this learner has. Expected "
                "`compile` with the `inner_loss` of the learner that was saved, before its weights "
                f"are loaded. Received: a file with {number} loss_variables for "
                f"{[v.path for v in self._loss_variables]}"
            )
        super().load_own_variables(held)

    @property
    def _loss_variables(self) -> list[Any]:
        holder = getattr(self, "loss_variables", None)
        return [] if holder is None else holder.variables

    def get_compile_config(self) -> dict[str, Any]:
        """See `keras.Model.get_compile_config`."""
        config = super().get_compile_config()
        if not config:
            return config
        config = {**config, "check_curvature": self.checks_curvature}
        config["outer_penalties"] = self.outer_penalties
        if self.inner_loss is not self.loss:
            config["inner_loss"] = keras.saving.serialize_keras_object(self.inner_loss)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a saved learner was; Keras calls this when it loads one."""
        self.compile(**keras.saving.deserialize_keras_object(config))
