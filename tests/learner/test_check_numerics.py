"""TensorFlow's debugger of numbers that are not finite does not stop a healthy run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki


@pytest.fixture
def debugger():
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.slow  # the debugger checks each operation, and tracing takes longer
@pytest.mark.parametrize(
    "linear",
    [
        ki.linear.ConjugateGradient(max_steps=2),
        ki.linear.Neumann(2),
        ki.linear.Nystrom(2),
        ki.linear.Dual(),
    ],
)
def test_a_healthy_run_is_not_stopped(linear, debugger):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    algorithm = ki.IMAML(inner=ki.inner.GradientDescent(1, 0.1), linear=linear)
    learner = ki.MetaLearner(network, algorithm)
    learner.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(1, 2, 2)).astype("float32")
    data = ((x, x[..., :1]), (x, x[..., :1]))
    assert np.isfinite(learner.fit(*data, verbose=0).history["loss"]).all()
    assert np.isfinite(learner.evaluate(*data, verbose=0, return_dict=True)["loss"])
    outputs = learner.adapt_and_predict(x[0], x[0, :, :1], x[0])
    assert np.isfinite(outputs).all()
