"""The multi-layer perceptron."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki


def test_the_network_of_the_sinusoid_has_two_hidden_layers_of_40():
    model = ki.models.MLP()
    assert [v.shape for v in model.trainable_variables] == [
        (1, 40),
        (40,),
        (40, 40),
        (40,),
        (40, 1),
        (1,),
    ]
    assert model(tf.zeros([3, 1])).shape == (3, 1)


def test_it_is_what_its_layers_say():
    model = ki.models.MLP(2, (3,), hidden=(4,), activation="tanh")
    w, b, v, c = (np.asarray(p) for p in model.trainable_variables)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(model(x), np.tanh(x @ w + b) @ v + c, rtol=1e-4, atol=1e-5)


def test_inputs_of_higher_rank_are_flattened():
    assert ki.models.MLP(2, (4, 3), hidden=(5,))(tf.zeros([2, 4, 3])).shape == (2, 2)


def test_without_hidden_layers_it_is_linear():
    model = ki.models.MLP(2, (3,), hidden=(), dtype="float64")
    assert [v.shape for v in model.variables] == [(3, 2), (2,)]
    assert {v.dtype for v in model.variables} == {"float64"}


@pytest.mark.parametrize(
    ("arguments", "name"), [({"outputs": 0}, "outputs"), ({"hidden": [3, 0]}, "hidden")]
)
def test_settings_are_checked(arguments, name):
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        ki.models.MLP(**arguments)
