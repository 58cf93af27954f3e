"""The proximal strength: its shapes, its start, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.meta_parameters.parameters import Parameters


def parameters(adapt=None, dtype="float32"):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype=dtype),
            keras.layers.Dense(4, name="body", dtype=dtype),
            keras.layers.Dense(2, name="head", dtype=dtype),
        ]
    )
    return Parameters(model, adapt)


def prepared(strength, **settings):
    strength.prepare(parameters(**settings))
    return strength


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("per", "shape"), [("model", ()), ("layer", (26,)), ("weight", (26,))])
def test_value_has_one_number_for_all_or_for_each_weight(per, shape, dtype):
    value = prepared(ki.ProximalStrength(0.7, per=per), dtype=dtype).value()
    assert value.shape == shape
    assert value.dtype == dtype
    np.testing.assert_allclose(value, np.full(shape, 0.7), rtol=1e-6)


@pytest.mark.parametrize(("per", "count"), [("model", 1), ("layer", 2), ("weight", 26)])
@pytest.mark.parametrize("learned", [True, False])
def test_only_a_learned_strength_is_trainable(per, count, learned):
    strength = prepared(ki.ProximalStrength(per=per, learned=learned))
    trained = sum(int(np.prod(v.shape)) for v in strength.trainable_variables)
    assert trained == (count if learned else 0)
    assert sum(int(np.prod(v.shape)) for v in strength.variables) == count


def test_layers_get_the_numbers_under_their_names():
    strength = prepared(ki.ProximalStrength({"head": 5.0, "default": 0.5}, per="layer"))
    np.testing.assert_allclose(strength.value(), [0.5] * 16 + [5.0] * 10, rtol=1e-6)


def test_it_counts_only_adapted_weights():
    strength = prepared(ki.ProximalStrength({"head": 5.0}, per="layer"), adapt="head")
    np.testing.assert_allclose(strength.value(), [5.0] * 10, rtol=1e-6)


def test_it_stays_positive_whatever_the_optimizer_does():
    strength = prepared(ki.ProximalStrength(0.1, learned=True))
    optimizer = keras.optimizers.SGD(10.0)
    for _ in range(3):
        optimizer.apply([tf.constant(1.0)], strength.trainable_variables)
    assert 0 < float(strength.value()) < 1e-12


def test_a_tape_sees_the_read():
    strength = prepared(ki.ProximalStrength(0.7, learned=True))
    with tf.GradientTape() as tape:
        value = strength.value()
    np.testing.assert_allclose(tape.gradient(value, strength.trainable_variables[0]), 0.7, 1e-6)


@pytest.mark.parametrize("initial", [{"heads": 1.0, "default": 1.0}, {"body": 1.0}])
def test_names_must_fit_the_layers(initial):
    strength = ki.ProximalStrength(initial, per="layer")
    with pytest.raises(ValueError, match="`initial`.*Received"):
        strength.prepare(parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial": 0.0}, "`proximal_strength`.*above 0.*do not depend on theta"),
        ({"initial": -1}, "`proximal_strength`"),
        ({"initial": {"head": 0.0}, "per": "layer"}, "head.*above 0"),
        ({"initial": {"head": 1.0}}, "number unless per='layer'.*per='model'"),
        ({"per": "task"}, "`per`.*Received: per='task'"),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ki.ProximalStrength(**arguments)


@pytest.mark.parametrize(("initial", "per"), [(0.3, "weight"), ({"default": 0.3}, "layer")])
def test_configuration_round_trip(initial, per):
    strength = ki.ProximalStrength(initial, per=per, learned=True)
    config = keras.saving.serialize_keras_object(strength)
    restored_strength = keras.saving.deserialize_keras_object(config)
    assert restored_strength.get_config() == strength.get_config()


@pytest.mark.parametrize("per", ["model", "layer", "weight"])
def test_it_can_be_set_to_another_number(per):
    strength = ki.ProximalStrength(2.0, per=per)
    strength.prepare(parameters())
    strength.assign(0.5)
    np.testing.assert_allclose(strength.value(), 0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="Invalid value for `.*Received"):
        strength.assign(0.0)
