"""Settings of a solver as a frozen dataclass that Keras can save and load."""

import dataclasses
from typing import Any

import keras


class Configurable:
    """`get_config` and `from_config` of a frozen dataclass: its fields, nested objects included."""

    def get_config(self) -> dict[str, Any]:
        """The fields, in a form that JSON can hold."""
        return {
            field.name: keras.saving.serialize_keras_object(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The inverse of `get_config`."""
        return cls(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )
