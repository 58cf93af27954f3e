"""Frozen dataclasses that Keras saves and loads."""

import dataclasses
import json

import keras
import pytest

import keras_imaml as ki
from keras_imaml._utils.configurable import Configurable
from keras_imaml.curvature import CURVATURES


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
    settings = Whole(Part(3), 0.25, "b")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(settings)))
    assert keras.saving.deserialize_keras_object(config) == settings


def test_config_names_every_field():
    assert list(Whole().get_config()) == ["part", "rate", "name"]


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Whole().rate = 1.0


SHOWN = [
    "IMAML()",
    "IMAML(ProximalStrength({'default': 1.0}, per='layer', learned=True), inner.NewtonCG())",
    "IMAML(0.5, inner.LBFGS(3), linear.Neumann(), curvature='hessian')",
    "IMAML(0.5, inner.GradientDescent(2, 0.1, momentum=0.5, nesterov=True), linear.Nystrom())",
    "IMAML(linear=linear.Dual())",
    "MAML(inner.GradientDescent(3, LearningRate(0.2, per='weight')), recompute=True)",
    "Reptile(inner.Adam(2))",
]


@pytest.mark.parametrize("call", SHOWN)
def test_what_is_shown_makes_the_same_object_again(call):
    original = eval(call, vars(ki))
    names = {**vars(ki), **vars(ki.inner), **vars(ki.linear)}
    copy = eval(repr(original), names)
    assert type(copy) is type(original)
    config, copied_config = ({**item.get_config(), "name": ""} for item in (original, copy))
    assert json.dumps(without_names(config)) == json.dumps(without_names(copied_config))


def without_names(config):
    """Keras numbers the names of layers."""
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key != "name"}
    return config


def test_learners_losses_and_curvatures_are_shown_too():
    network = ki.models.MLP(2, hidden=(3,), name="net")
    loss = ki.LearnedLoss(network, features=["a"])
    assert repr(loss).startswith("LearnedLoss(network=<Functional name=net")
    assert repr(loss).endswith("features=['a'])")
    learner = ki.MetaLearner(ki.models.MLP(), ki.IMAML(), adapt="head", tasks_per_chunk=2)
    assert repr(learner).startswith("MetaLearner(model=<Functional name=mlp")
    assert "adapt='head', transductive=False, learned_loss=None, tasks_per_chunk=2" in repr(learner)
    shown = {name: repr(make()) for name, make in CURVATURES.items()}
    assert shown == {"gauss_newton": "GaussNewton()", "hessian": "Hessian()"}


def test_an_evaluation_is_shown_as_a_call():
    evaluation = ki.Evaluation(3, 0, False, 0.5, 0.1, 0.9, None, None, None)
    assert eval(repr(evaluation), vars(ki)) == evaluation
