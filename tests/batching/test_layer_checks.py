"""Exact second derivatives of stock normalization layers, and the layers that are refused."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml._compat.second_derivatives import exact_moments
from keras_imaml.batching.layer_checks import check_layers
from tests.batched import product_and_differences

STOCK = tf.nn.moments
NORMALIZATIONS = [
    lambda: layers.LayerNormalization(dtype="float64"),
    lambda: layers.GroupNormalization(2, dtype="float64"),
]


def relative_error_of_product(layer):
    """The Hessian-vector product of a small function of a layer, against finite differences."""
    rng = np.random.default_rng(0)
    x, v, weights = (tf.constant(rng.normal(size=(3, 4))) for _ in range(3))
    product, expected = product_and_differences(layer, x, v, weights)
    return np.linalg.norm(product - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("build", NORMALIZATIONS)
def test_products_are_exact_within(build):
    with exact_moments():
        assert relative_error_of_product(build()) < 1e-7


@pytest.mark.parametrize("build", NORMALIZATIONS)
def test_products_of_stock_tensorflow_are_wrong(build):
    assert relative_error_of_product(build()) > 1e-2, (
        "tf.nn.moments now has an exact second derivative: `exact_moments` has become "
        "superfluous for this version of TensorFlow, and so has the note about it."
    )


@pytest.mark.parametrize("axes", [[0], [1, 2], [0, 1, 2], [-1]])
@pytest.mark.parametrize("keepdims", [True, False])
def test_moments_keep_their_values(axes, keepdims):
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 5)))
    expected = STOCK(x, axes, keepdims=keepdims)
    with exact_moments():
        result = tf.nn.moments(x, axes, keepdims=keepdims)
    for moment, expected_moment in zip(result, expected, strict=True):
        assert moment.shape == expected_moment.shape
        np.testing.assert_allclose(moment, expected_moment, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_moments_of_half_precision_are_summed_in_single_precision(dtype):
    x = tf.cast(tf.fill([4096, 1], 300.0), dtype)
    with exact_moments():
        mean, variance = tf.nn.moments(x, [0])
    assert mean.dtype == variance.dtype == x.dtype
    np.testing.assert_allclose(tf.cast(mean, tf.float32), [300.0], rtol=1e-2)
    np.testing.assert_allclose(tf.cast(variance, tf.float32), [0.0], atol=1e-6)


def test_stock_moments_come_back_after_an_exception():
    with exact_moments():
        with pytest.raises(RuntimeError, match="inside"), exact_moments():
            raise RuntimeError("inside")
        assert tf.nn.moments is not STOCK
    with pytest.raises(RuntimeError, match="inside"), exact_moments():
        raise RuntimeError("inside")
    assert tf.nn.moments is STOCK


def test_threads_may_overlap():
    entered, leave = threading.Event(), threading.Event()

    def hold_moments():
        with exact_moments():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold_moments)
    thread.start()
    entered.wait(10)
    with exact_moments():
        pass
    assert tf.nn.moments is not STOCK
    leave.set()
    thread.join()
    assert tf.nn.moments is STOCK


def with_layer(layer):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layer], name="inner")
    return keras.Sequential([keras.Input((4,)), inner, layers.Dense(2)])


def test_trainable_batch_normalization_is_refused_by_name_at_any_depth():
    with pytest.raises(ValueError, match="inner/culprit.*replace_batch_normalization.*trainable"):
        check_layers(with_layer(layers.BatchNormalization(name="culprit")))


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(trainable=False),
        layers.LayerNormalization(),
        ki.layers.TaskBatchNormalization(),
    ],
)
def test_other_layers_are_accepted(layer):
    check_layers(with_layer(layer))


@pytest.mark.parametrize("name", ["my net", "net (v2)", "nétz", "a:b"])
def test_names_of_which_tensorflow_builds_no_graph_are_refused(name):
    of_network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name=name)
    of_layer = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name=name)])
    for network in (of_network, of_layer):
        with pytest.raises(ValueError, match="without spaces and parentheses"):
            check_layers(network)
    check_layers(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="net-v.2_a"))
