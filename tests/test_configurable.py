"""Frozen dataclasses that Keras saves and loads."""

import dataclasses
import json

import keras
import pytest

from keras_imaml.configurable import Configurable


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
@dataclasses.dataclass(frozen=True)
class Part(Configurable):
    size: int = 1


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
@dataclasses.dataclass(frozen=True)
class Whole(Configurable):
    part: Part = Part()
    rate: float = 0.5
    name: str = "a"


def test_nested_settings_survive_json():
    whole = Whole(Part(3), 0.25, "b")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(whole)))
    assert keras.saving.deserialize_keras_object(config) == whole


def test_config_names_every_field():
    assert list(Whole().get_config()) == ["part", "rate", "name"]


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Whole().rate = 1.0
