"""The layer that subtracts the mean features of a task."""

import keras
import numpy as np
import pytest

import keras_imaml as ki
from keras_imaml.layers.centering import only_centers
from keras_imaml.layers.task_batch_normalization import statistics_of_first

X = np.array([[1.0, 4.0], [3.0, 8.0], [8.0, 0.0]])


def layer(**settings):
    return ki.layers.Centering(dtype="float64", **settings)


def test_the_mean_of_the_examples_is_subtracted():
    np.testing.assert_allclose(layer()(X), X - X.mean(0), atol=1e-12)
    with statistics_of_first(2):
        np.testing.assert_allclose(layer()(X), X - X[:2].mean(0), atol=1e-12)


def test_the_features_may_be_on_any_axis():
    np.testing.assert_allclose(layer(axis=0)(X), X - X.mean(1, keepdims=True), atol=1e-12)


def test_a_fixed_mean_is_that_of_the_recorded_examples():
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layer(fixed=True)])
    np.testing.assert_allclose(model(X), X)
    ki.record_statistics(model, X)
    np.testing.assert_allclose(model(X + 1), X + 1 - X.mean(0), atol=1e-12)


def test_nothing_is_learned_and_the_configuration_comes_back():
    first = layer(axis=1, fixed=True, name="mean")
    first.build((None, 2))
    restored_layer = ki.layers.Centering.from_config(first.get_config())
    assert first.trainable_variables == []
    assert restored_layer.get_config() == first.get_config()


def test_the_same_layer_in_a_file_of_before_is_known():
    before = {"divide": False, "center": False, "scale": False}
    assert only_centers(ki.layers.TaskBatchNormalization(**before))
    assert only_centers(layer())
    assert not only_centers(ki.layers.TaskBatchNormalization(divide=False))
    assert not only_centers(keras.layers.Dense(1))


@pytest.mark.parametrize("fixed", [False, True])
def test_a_task_gets_a_stock_layer(fixed):
    built = layer(fixed=fixed)
    expected = built(X)
    mean = built.moving_mean if fixed else X.mean(0)
    built.moving_mean.assign(mean)
    built.become_stock()
    assert type(built) is keras.layers.BatchNormalization
    np.testing.assert_allclose(built(X, training=False), expected, atol=1e-9)
