"""One grouped convolution equals one convolution a task, and the registry is left as it was."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml._compat import grouped_convolution as module
from keras_imaml._compat.grouped_convolution import (
    grouped_conv2d,
    grouped_convolutions,
    task_conv2d,
)

STOCK = module._stock["Conv2D"]


def registered():
    return module._registry["Conv2D"]


def operands(dtype="float32", tasks=3, channels=2, size=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, 2, size, size, channels)).astype(dtype)
    filters = rng.normal(size=(tasks, 3, 3, channels, 4)).astype(dtype)
    return tf.constant(x), tf.constant(filters)


def one_by_one(x, filters, **attributes):
    return tf.stack(
        [
            tf.raw_ops.Conv2D(input=images, filter=bank, **attributes)
            for images, bank in zip(x, filters, strict=True)
        ]
    )


SETTINGS = [
    {"strides": [1, s, s, 1], "padding": padding, "dilations": [1, d, d, 1]}
    for s, padding, d in itertools.product([1, 2], ["SAME", "VALID"], [1, 2])
    if s == 1 or d == 1
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("convolve", [grouped_conv2d, task_conv2d])
def test_equals_the_convolutions_one_by_one(convolve, settings):
    x, filters = operands()
    expected = one_by_one(x, filters, **settings)
    result = convolve(x, filters, **settings)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectorized_map_takes_it_with_its_gradient(run, dtype):
    x, filters = operands(dtype)
    settings = {"strides": [1, 2, 2, 1], "padding": "SAME"}

    def with_gradient(evaluate):
        with tf.GradientTape() as tape:
            tape.watch((x, filters))
            y = evaluate(x, filters)
            total = tf.reduce_sum(y**3)
        return [y, *tape.gradient(total, (x, filters))]

    def vectorized(x, filters):
        with grouped_convolutions():
            return tf.vectorized_map(
                lambda a: tf.raw_ops.Conv2D(input=a[0], filter=a[1], **settings), (x, filters)
            )

    expected = with_gradient(lambda x, f: one_by_one(x, f, **settings))
    rtol = 1e-10 if dtype == "float64" else 1e-3
    for result, expected_result in zip(run(with_gradient, vectorized), expected, strict=True):
        np.testing.assert_allclose(result, expected_result, rtol=rtol, atol=rtol)


def operations(dtype, filters_differ=True):
    """The kinds of the operations that a vectorized convolution comes down to."""
    x, filters = operands(dtype)

    @tf.function(autograph=False)
    def convolve(x, filters):
        with grouped_convolutions():
            apply = lambda a, b: tf.nn.conv2d(a, b, 1, "SAME")  # noqa: E731
            if filters_differ:
                return tf.vectorized_map(lambda a: apply(*a), (x, filters))
            return tf.vectorized_map(lambda a: apply(a, filters[0]), x)

    unvisited, types = [convolve.get_concrete_function(x, filters).outputs[0].op], {}
    while unvisited:
        op = unvisited.pop()
        types[op.name] = op.type
        unvisited.extend(tensor.op for tensor in op.inputs if tensor.op.name not in types)
    return list(types.values())


def test_float32_is_one_convolution_without_a_loop():
    if not module.supports_groups(tf.float32):
        pytest.skip("this build of TensorFlow does not differentiate grouped convolutions")
    kinds = operations("float32")
    assert kinds.count("Conv2D") == 1
    assert not any("While" in kind for kind in kinds)


def test_without_grouped_kernels_there_is_one_convolution_a_task(monkeypatch):
    monkeypatch.setattr(module, "supports_groups", lambda dtype: False)
    kinds = operations("float32")
    assert kinds.count("Conv2D") == 3
    assert not any("While" in kind for kind in kinds)


def test_shared_filters_are_left_to_tensorflow():
    assert operations("float32", filters_differ=False).count("Conv2D") == 1


def test_the_registry_is_changed_only_within():
    assert registered() is STOCK
    with grouped_convolutions():
        assert registered() is module._convert_conv2d
        with grouped_convolutions():
            pass
        assert registered() is module._convert_conv2d
    assert registered() is STOCK


def test_an_exception_restores_the_registry():
    with pytest.raises(RuntimeError, match="inside"), grouped_convolutions():
        raise RuntimeError("inside")
    assert registered() is STOCK
    assert module._replaced._depth == 0


def test_without_a_registry_the_result_is_the_same(monkeypatch):
    x, filters = operands()
    expected = one_by_one(x, filters, strides=[1, 1, 1, 1], padding="SAME")
    monkeypatch.setattr(module._replaced, "_stock", None)

    @tf.function(autograph=False)
    def convolve(x, filters):
        with grouped_convolutions():
            return tf.vectorized_map(lambda a: tf.nn.conv2d(*a, 1, "SAME"), (x, filters))

    np.testing.assert_allclose(convolve(x, filters), expected, rtol=1e-4, atol=1e-5)


def test_unknown_sizes_are_taken_when_the_graph_runs():
    x, filters = operands()
    expected = one_by_one(x, filters, strides=[1, 1, 1, 1], padding="SAME")
    signature = [tf.TensorSpec([None] * 5), tf.TensorSpec([None, 3, 3, 2, 4])]
    convolve = tf.function(
        lambda x, f: grouped_conv2d(x, f, strides=[1, 1, 1, 1], padding="SAME"),
        input_signature=signature,
        autograph=False,
    )
    np.testing.assert_allclose(convolve(x, filters), expected, rtol=1e-4, atol=1e-5)
