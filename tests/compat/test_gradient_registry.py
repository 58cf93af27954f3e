"""Custom gradients go with the graphs that they were traced in, and count as long as these live."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat.gradient_registry import _gradients


@tf.custom_gradient
def cube(x):
    """Three times the gradient of what it computes."""

    @tf.custom_gradient
    def slope(x):
        return 9 * x**2, lambda g: 18 * x * g

    return x**3, lambda g: slope(x) * g


def registered():
    gc.collect()
    return [name for name in _gradients if name.startswith("CustomGradient")]


def in_a_loop(x):
    return tf.while_loop(lambda i, y: i < 1, lambda i, y: (i + 1, cube(y)), (0, x))[1]


@pytest.mark.parametrize("function", [cube, in_a_loop])
def test_gradients_count_in_graphs_and_are_gone_with_them(function):
    before = registered()

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    for x in (1.0, 2.0):
        assert float(gradient(tf.constant(x))) == 9 * x**2
    assert len(registered()) > len(before)
    del gradient
    assert registered() == before


def test_second_derivatives_count_too():
    @tf.function(autograph=False)
    def second(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = cube(x)
            first = inner.gradient(y, x)
        return outer.gradient(first, x)

    gc.collect()
    assert float(second(tf.constant(2.0))) == 36


def test_a_function_is_differentiated_from_outside():
    traced_cube = tf.function(cube, autograph=False)
    traced_cube(tf.constant(1.0))
    gc.collect()
    x = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = traced_cube(x)
    assert float(tape.gradient(y, x)) == 36


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ki.IMAML, ki.MAML])
def test_a_learner_is_freed(algorithm):
    def trained():
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "silu")])
        network.add(ki.layers.TaskBatchNormalization())
        learner = ki.MetaLearner(network, algorithm(inner=ki.inner.GradientDescent(1, 0.1)))
        learner.compile("sgd", "mse")
        sets = np.ones((1, 3, 2), "float32"), np.ones((1, 3, 2), "float32")
        learner.fit(sets, sets, verbose=0)
        return weakref.ref(learner)

    trained()  # the first learner of a process also checks the versions
    keras.backend.clear_session()  # collects garbage, also that of other tests
    before = registered()
    reference = trained()
    keras.backend.clear_session()
    assert {*registered()} <= {*before}
    assert reference() is None
