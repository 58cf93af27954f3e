"""Normalization with derivatives in closed form equals what TensorFlow derives from its formula."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.batching.normalization import (
    normalize,
    normalize_by_first,
    normalize_by_shares,
    standardize,
)

EPSILON = 1e-3
CASES = {  # shape of the activations, axes of the statistics
    "folded images": ((5, 3, 3, 8), (0, 1, 2)),
    "vectors": ((4, 6, 3), (1,)),
    "images": ((3, 5, 2, 2, 4), (1, 2, 3)),
}


def formula(x, gamma, beta, axes, rows=None, axis=0):
    examples = x if rows is None else tf.gather(x, rows, axis=axis)
    mean = tf.reduce_mean(examples, axes, keepdims=True)
    variance = tf.reduce_mean((examples - mean) ** 2, axes, keepdims=True)
    return gamma * (x - mean) / tf.sqrt(variance + EPSILON) + beta


def derivatives(function, arguments, cotangent, directions):
    """First, second and third derivatives of a small function of the normalized activations."""

    sources = [*arguments, cotangent]
    with tf.GradientTape() as third, tf.GradientTape() as second:
        third.watch(sources)
        second.watch(sources)
        with tf.GradientTape() as first:
            first.watch(sources)
            value = tf.reduce_sum(tf.tanh(function(*arguments) * cotangent))
        slopes = first.gradient(value, arguments)
        slope_product = tf.add_n(
            [tf.reduce_sum(s * v) for s, v in zip(slopes, directions, strict=True)]
        )
        bends = second.gradient(slope_product, sources)
        bend_sum = tf.add_n([tf.reduce_sum(tf.sin(bend)) for bend in bends])
    return [*slopes, *bends, *third.gradient(bend_sum, sources)]


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-11), ("float32", 2e-4)])
@pytest.mark.parametrize("rows", [None, range(4), [0, 3]])
@pytest.mark.parametrize("case", CASES)
def test_values_and_three_derivatives_are_those_of_the_formula(case, rows, dtype, rtol):
    shape, axes = CASES[case]
    axis = axes[0]  # of the examples
    rng = np.random.default_rng(0)
    parameter_shape = [1 if axis in axes else size for axis, size in enumerate(shape)]
    draw = lambda shape: tf.constant(rng.normal(size=shape), dtype)  # noqa: E731
    arguments = [2 * draw(shape) + 1, draw(parameter_shape), draw(parameter_shape)]
    cotangent, directions = draw(shape), [draw(a.shape) for a in arguments]
    stock = lambda *a: formula(*a, axes, rows, axis)  # noqa: E731

    def normalization(*a):
        if rows is None:
            return normalize(*a, axes, EPSILON)
        if rows == range(4):
            return normalize_by_first(*a, axes, EPSILON, 4, axis)
        shares = np.zeros([size if i == axis else 1 for i, size in enumerate(shape)])
        np.moveaxis(shares, axis, 0)[list(rows)] = shape[axis] / len(rows)
        return normalize_by_shares(*a, axes, EPSILON, tf.constant(shares, dtype))

    np.testing.assert_allclose(normalization(*arguments), stock(*arguments), rtol=1e-3, atol=rtol)
    for derivative, expected in zip(
        derivatives(normalization, arguments, cotangent, directions),
        derivatives(stock, arguments, cotangent, directions),
        strict=True,
    ):
        np.testing.assert_allclose(derivative, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("run", [lambda f: f, lambda f: tf.function(f, autograph=False)])
@pytest.mark.parametrize("axes", [(4,), (1, 2, 4)])
def test_a_standardization_has_three_derivatives(axes, run):
    rng = np.random.default_rng(0)
    x, cotangent, direction = (tf.constant(rng.normal(size=(3, 4, 2, 2, 5))) for _ in range(3))
    results = [
        run(lambda x, f=f: derivatives(f, [x], cotangent, [direction]))(2 * x + 1)
        for f in (
            lambda x: standardize(x, axes, EPSILON),
            lambda x: formula(x, 1.0, 0.0, axes),
        )
    ]
    for derivative, expected in zip(*results, strict=True):
        np.testing.assert_allclose(
            derivative, expected, rtol=0, atol=1e-11 * np.abs(expected).max()
        )


@pytest.mark.parametrize("standardizes", [False, True])
def test_descent_in_a_loop_has_a_derivative(standardizes):
    """Which a graph refuses where one of the closed forms has another shape than its argument."""
    x = tf.random.stateless_normal([3, 4, 5], [0, 0], dtype="float64")
    parameters = tf.ones([3, 4, 1], "float64"), tf.zeros([3, 4, 1], "float64")

    def function(x):
        if standardizes:
            return standardize(x, [2], EPSILON)
        return normalize(x, *parameters, [2], EPSILON)

    def end(x):
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(tf.tanh(function(x)) ** 3)
            return (x - 0.1 * tape.gradient(value, x),)

        return tf.while_loop(lambda x: True, step, (x,), maximum_iterations=3)[0]

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(end(x) ** 3)
        return tape.gradient(value, x)

    in_graph = tf.function(slope, autograph=False)(x)
    np.testing.assert_allclose(in_graph, slope(x), rtol=1e-9, atol=1e-12)


def test_the_number_of_examples_may_be_unknown():
    x = tf.random.stateless_normal([5, 3, 3, 8], [0, 0], dtype="float64")
    ones = tf.ones([1, 1, 1, 8], "float64")

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(normalize(x, ones, ones, (0, 1, 2), EPSILON) ** 3)
        return tape.gradient(value, x)

    unknown = tf.function(
        slope, input_signature=[tf.TensorSpec([None, 3, 3, 8], "float64")], autograph=False
    )
    np.testing.assert_allclose(unknown(x), slope(x), rtol=1e-12)
