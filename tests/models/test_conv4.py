"""The four-layer convolutional network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki


def test_the_network_of_the_paper_has_113221_weights():
    model = ki.models.Conv4(5)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 113221


@pytest.mark.parametrize("downsample", ["stride", "average", "max"])
def test_it_gives_one_logit_a_class(downsample):
    model = ki.models.Conv4(7, (20, 24, 3), filters=2, downsample=downsample)
    assert model(tf.zeros([2, 20, 24, 3])).shape == (2, 7)
    pools = [layer for layer in model.layers if "pool" in layer.name]
    assert len(pools) == (0 if downsample == "stride" else 4)


@pytest.mark.parametrize(("downsample", "side"), [("stride", 2), ("average", 1), ("max", 1)])
def test_four_halvings(downsample, side):
    model = ki.models.Conv4(5, filters=3, downsample=downsample)
    assert model.get_layer("features").output.shape == (None, side * side * 3)


def test_dtype_and_activation_reach_every_layer():
    model = ki.models.Conv4(5, filters=2, activation="softplus", dtype="float64")
    assert {v.dtype for v in model.variables} == {"float64"}
    assert model(np.zeros([1, 28, 28, 1])).dtype == tf.float64
    assert model.get_layer("activation_3").activation.__name__ == "softplus"


@pytest.mark.parametrize("tied", [True, False])
def test_in_mixed_precision_the_head_keeps_the_precision_of_the_weights(tied):
    model = ki.models.Conv4(5, filters=2, tied_head=tied, dtype="mixed_bfloat16")
    assert model.get_layer("features").output.dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert {v.dtype for v in model.variables} == {"float32"}
    exact = ki.models.Conv4(5, filters=2, tied_head=tied)
    exact.set_weights(model.get_weights())
    x = keras.random.uniform([6, 28, 28, 1], seed=0)
    np.testing.assert_allclose(model(x), exact(x), atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"classes": 0}, "classes"),
        ({"classes": 5, "filters": 0}, "filters"),
        ({"classes": 5, "downsample": "skip"}, "downsample"),
        ({"classes": 5, "input_shape": (28, 28)}, "input_shape"),
        ({"classes": 5, "input_shape": (8, 28, 1), "downsample": "max"}, "input_shape"),
    ],
)
def test_settings_are_checked(arguments, name):
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        ki.models.Conv4(**arguments)
