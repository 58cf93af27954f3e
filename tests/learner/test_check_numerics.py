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


def descent(**settings):
    return ki.inner.GradientDescent(2, 0.1, **settings)


ALGORITHMS = {  # each solver of inner problems, and each of linear systems
    "conjugate gradient": lambda: ki.IMAML(
        inner=descent(), linear=ki.linear.ConjugateGradient(max_steps=2)
    ),
    "adam, neumann": lambda: ki.IMAML(inner=ki.inner.Adam(2), linear=ki.linear.Neumann(2)),
    "newton, nystrom": lambda: ki.IMAML(inner=ki.inner.NewtonCG(2), linear=ki.linear.Nystrom(2)),
    "lbfgs, dual": lambda: ki.IMAML(inner=ki.inner.LBFGS(2), linear=ki.linear.Dual()),
    "tolerance, strength of each layer, hessian": lambda: ki.IMAML(
        ki.ProximalStrength(1.0, per="layer", learned=True),
        descent(tolerance=0.5),
        curvature="hessian",
    ),
    "maml": lambda: ki.MAML(descent()),
    "first order": lambda: ki.MAML(descent(), first_order=True),
    "reptile": lambda: ki.Reptile(),
    "self-training": lambda: ki.SelfTraining(ki.IMAML(inner=descent()), rounds=1),
}


@pytest.mark.slow  # the debugger checks each operation, and tracing takes longer
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_healthy_run_is_not_stopped(name, debugger):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu")])
    learner = ki.MetaLearner(network, ALGORITHMS[name]())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile("sgd", loss, ["accuracy"])
    x = np.random.default_rng(0).normal(size=(1, 2, 2)).astype("float32")
    y = np.array([[0, 1]], "int32")
    data = ((x, y), (x, y))
    assert np.isfinite(learner.fit(*data, verbose=0).history["loss"]).all()
    if name == "conjugate gradient":  # of what all algorithms share
        tasks = tf.data.Dataset.from_tensors(data)
        assert ki.evaluate(learner, tasks, 1, verbose=0, per_task=True)["valid"].all()
