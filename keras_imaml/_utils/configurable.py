"""Settings of an object: kept as a frozen dataclass that Keras saves, shown as a call."""

import dataclasses
import inspect
from typing import Any

import keras


def constructor_call(instance: Any, **values: Any) -> str:
    """The call of the constructor that makes an object like `instance`.

    Args:
        instance: Keeps each argument of its constructor under the same name.
        **values: Arguments that it keeps elsewhere.
    """
    arguments = inspect.signature(type(instance)).parameters.values()
    names = [a.name for a in arguments if a.kind is not inspect.Parameter.VAR_KEYWORD]
    shown = {name: values[name] if name in values else getattr(instance, name) for name in names}
    inside = ", ".join(f"{name}={value!r}" for name, value in shown.items())
    return f"{type(instance).__name__}({inside})"


class ShownAsCall:
    """Objects whose `repr` is their configuration: `IMAML(proximal_strength=...)`.

    Dataclasses do that by themselves. Comes before `keras.layers.Layer`, which shows its name.
    """

    def __repr__(self) -> str:
        return constructor_call(self)


class Configurable:
    """`get_config` and `from_config` of a frozen dataclass: its fields, nested objects included.

    Example:

    ```python
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class OneStep(ki.inner.Configurable):
        rate: float = 0.1

    OneStep.from_config(OneStep(rate=0.5).get_config())  # OneStep(rate=0.5)
    ```
    """

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
