"""Batch normalization by the statistics of the task at hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.layers.task_batch_normalization import statistics_of_first
from tests.batched import product_and_differences


def inputs(shape=(5, 4, 4, 3), dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=shape).astype(dtype)


def with_random_weights(layer, shape):
    layer.build(shape)
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return layer


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3), (5, 3, 3, 3)])
@pytest.mark.parametrize("settings", [{}, {"center": False}, {"scale": False}, {"axis": 1}])
def test_equals_a_stock_layer_in_training(shape, settings):
    layer = with_random_weights(ki.layers.TaskBatchNormalization(**settings), shape)
    stock = with_random_weights(keras.layers.BatchNormalization(**settings), shape)
    x = inputs(shape)
    np.testing.assert_allclose(layer(x), stock(x, training=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False, None])
def test_training_makes_no_difference_and_nothing_is_recorded(training):
    layer = ki.layers.TaskBatchNormalization()
    x = inputs()
    np.testing.assert_array_equal(layer(x, training=training), layer(x))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))
    np.testing.assert_array_equal(layer.moving_variance, np.ones(3))


def test_statistics_may_come_from_the_first_rows(run):
    layer = ki.layers.TaskBatchNormalization(epsilon=1e-5)
    x = inputs()
    layer.build(x.shape)

    def normalize(x):
        with statistics_of_first(2):
            return layer(x)

    mean, deviation = x[:2].mean((0, 1, 2)), x[:2].std((0, 1, 2))
    expected = (x - mean) / deviation
    np.testing.assert_allclose(run(normalize, tf.constant(x)), expected, rtol=1e-3, atol=1e-4)
    # Afterwards the statistics are those of all rows again.
    np.testing.assert_allclose(np.mean(layer(x), (0, 1, 2)), np.zeros(3), atol=1e-5)


def test_without_division_the_mean_is_subtracted(run):
    layer = ki.layers.TaskBatchNormalization(divide=False, dtype="float64")
    x = inputs((5, 3), "float64")
    layer.build(x.shape)
    layer.beta.assign([1.0, 2.0, 3.0])
    expected = x - x.mean(0) + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(run(layer, tf.constant(x)), expected, atol=1e-6)
    with statistics_of_first(2):
        outputs = layer(x)
    np.testing.assert_allclose(outputs, x - x[:2].mean(0) + [1.0, 2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_without_division_fixed_statistics_are_subtracted(fused):
    layer = ki.layers.TaskBatchNormalization(divide=False, fixed=True)
    x = inputs((2, 5, 3))
    layer.build(x.shape[1:])
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    assert layer.fuses(tf.constant(x))
    outputs = layer.fused(tf.constant(x)) if fused else tf.stack([layer(task_x) for task_x in x])
    np.testing.assert_allclose(outputs, x - [1.0, 2.0, 3.0], rtol=1e-4, atol=1e-5)


def test_an_exception_ends_the_use_of_the_first_rows():
    layer = ki.layers.TaskBatchNormalization()
    x = inputs()
    expected = layer(x)
    with pytest.raises(RuntimeError, match="inside"), statistics_of_first(1):
        raise RuntimeError("inside")
    np.testing.assert_array_equal(layer(x), expected)


def test_uses_of_the_first_rows_nest():
    layer = ki.layers.TaskBatchNormalization()
    x = inputs()
    with statistics_of_first(2):
        expected = layer(x)
        with statistics_of_first(1):
            assert np.any(layer(x) != expected)
        np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize("divide", [True, False])
def test_the_second_derivative_is_exact(divide):
    normalization = ki.layers.TaskBatchNormalization(dtype="float64", divide=divide)

    def layer(x):
        return tf.sin(normalization(x))

    x, v, weights = (tf.constant(inputs((6, 3), "float64", seed)) for seed in range(3))
    product, expected = product_and_differences(layer, x, v, weights)
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-8)


def test_half_precision_is_summed_in_single_precision():
    layer = ki.layers.TaskBatchNormalization(dtype="mixed_float16")
    x = inputs((4096, 1)) + 300
    outputs = layer(x)
    assert outputs.dtype == tf.float16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32)[:, 0].numpy().std(), 1.0, rtol=0.02)


def test_masks_are_refused():
    layer = ki.layers.TaskBatchNormalization(name="norm")
    with pytest.raises(ValueError, match="does not support masks.*'norm'"):
        layer(inputs((2, 3, 4)), mask=np.ones((2, 3), bool))


@pytest.mark.parametrize("name", ["synchronized", "renorm"])
def test_statistics_over_replicas_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}=True"):
        ki.layers.TaskBatchNormalization(**{name: True})


def test_configuration_round_trip():
    settings = {"epsilon": 0.01, "scale": False, "divide": False, "fixed": True}
    layer = ki.layers.TaskBatchNormalization(name="norm", **settings)
    config = keras.saving.serialize_keras_object(layer)
    restored_layer = keras.saving.deserialize_keras_object(config)
    assert type(restored_layer) is ki.layers.TaskBatchNormalization
    assert restored_layer.get_config() == layer.get_config()


@pytest.mark.parametrize("shape", [(2, 6, 3), (3, 5, 4, 4, 3)])
@pytest.mark.parametrize("settings", [{}, {"center": False}, {"scale": False}])
@pytest.mark.parametrize("fixed", [False, True])
def test_the_fused_kernel_gives_the_same_up_to_second_derivatives(shape, settings, fixed):
    settings = {**settings, "fixed": fixed}
    layer = with_random_weights(ki.layers.TaskBatchNormalization(**settings), shape[1:])
    layer.moving_mean.assign([0.5, -1.0, 2.0])
    layer.moving_variance.assign([0.5, 1.0, 2.0])
    weights = layer.trainable_variables
    x = tf.constant(inputs(shape))
    direction = tf.constant(inputs(shape, seed=2))
    assert layer.fuses(x)

    def derivatives(normalize):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                outputs = normalize(x)
                value = tf.reduce_sum(tf.sin(outputs))
            slopes = inner.gradient(value, [x, *weights])
            slope_product = tf.reduce_sum(slopes[0] * direction)
        return [outputs, *slopes, *outer.gradient(slope_product, [x, *weights])]

    result = derivatives(layer.fused)
    expected = derivatives(lambda x: tf.stack([layer(task_x) for task_x in x]))
    for a, b in zip(result, expected, strict=True):
        if b is None:  # a second derivative that is zero
            assert a is None or not np.any(a)
        else:
            np.testing.assert_allclose(a, b, atol=1e-4 * float(tf.reduce_max(tf.abs(b))) + 1e-6)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_fused_kernel_serves_mixed_precision(fixed):
    exact = with_random_weights(ki.layers.TaskBatchNormalization(fixed=fixed), (6, 5, 5, 3))
    mixed = with_random_weights(
        ki.layers.TaskBatchNormalization(fixed=fixed, dtype="mixed_bfloat16"), (6, 5, 5, 3)
    )
    x = tf.cast(inputs((2, 6, 5, 5, 3)), tf.bfloat16)
    assert mixed.fuses(x) and mixed.fused(x).dtype == tf.bfloat16
    direction = tf.constant(inputs((2, 6, 5, 5, 3), seed=2))

    def derivatives(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer.fused(x)
            value = tf.reduce_sum(tf.cast(outputs, tf.float32) * direction)
        return [outputs, *tape.gradient(value, [x, *layer.trainable_variables])]

    expected = derivatives(exact, tf.cast(x, tf.float32))
    for a, b in zip(derivatives(mixed, x), expected, strict=True):
        error = float(tf.norm(tf.cast(a, tf.float32) - b) / tf.norm(b))
        assert error < 0.02


@pytest.mark.parametrize(
    ("shape", "dtype", "settings"),
    [
        ((2, 6, 3), "mixed_float16", {}),
        ((2, 6, 3), "bfloat16", {}),
        ((40, 6, 3), "float32", {}),
        ((2, 6, 3), "float64", {}),
        ((2, 6, 4, 3), "float32", {"axis": 1}),
        ((2, 6, 3), "float16", {}),
        ((2, 6, 3), "float32", {"divide": False}),
    ],
)
def test_what_the_fused_kernel_is_not_for(shape, dtype, settings):
    layer = ki.layers.TaskBatchNormalization(dtype=dtype, **settings)
    assert not layer.fuses(tf.zeros(shape, layer.compute_dtype))
