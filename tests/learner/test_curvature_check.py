"""`check_curvature` finds what no list of operations knows, and is silent about the rest."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from benchmarks.cost.tracing import learner_of
from tests.curvature.slopes import stopped_slope, straight_slope

pytestmark = pytest.mark.filterwarnings("ignore:.*one task after the other")


def squares(y, z):
    return tf.reduce_mean(tf.square(y - z))


def squares_once(y, z):
    return tf.reduce_mean(stopped_slope(tf.square(y - z)) * tf.exp(z))


def learner_with(function, algorithm, loss=squares):
    layer = keras.layers.Lambda(function)
    dense = keras.layers.Dense
    network = keras.Sequential([keras.Input((3,)), dense(4), layer, dense(2, activation="tanh")])
    learner = ki.MetaLearner(network, algorithm)
    learner.compile(loss=loss)
    return learner


def tasks():
    random = np.random.default_rng(0)
    part = lambda: (random.normal(size=(2, 5, 3)), random.normal(size=(2, 5, 2)))  # noqa: E731
    return tf.nest.map_structure(lambda x: x.astype("float32"), (part(), part()))


ALGORITHMS = {
    "gauss_newton": lambda: ki.IMAML(),
    "hessian": lambda: ki.IMAML(curvature="hessian"),
    "maml": lambda: ki.MAML(),
}


QUICK_AND_SLOW = [
    name if name == "gauss_newton" else pytest.param(name, marks=pytest.mark.slow)
    for name in ALGORITHMS
]


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_what_is_right_passes(name):
    errors = ki.check_curvature(learner_with(tf.sin, ALGORITHMS[name]()), tasks())
    assert set(errors) == {"outputs", "loss"} | (
        set() if name == "gauss_newton" else {"symmetry", "gradient"}
    )
    assert max(errors.values()) < 0.02


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_a_derivative_that_ends_is_found(name):
    learner = learner_with(stopped_slope, ALGORITHMS[name]())
    with pytest.raises(ValueError, match=r"Jacobian.*first_order=True.*'outputs'"):
        ki.check_curvature(learner, tf.data.Dataset.from_tensors(tasks()))


@pytest.mark.slow
def test_a_bend_that_is_left_out_is_found_where_it_counts():
    with pytest.raises(ValueError, match="differ from differences of the gradient"):
        ki.check_curvature(learner_with(straight_slope, ki.MAML()), tasks())
    assert ki.check_curvature(learner_with(straight_slope, ki.IMAML()), tasks())


def test_a_loss_without_a_second_derivative_is_found():
    learner = learner_with(tf.sin, ki.IMAML(), squares_once)
    with pytest.raises(ValueError, match="second derivative of the loss"):
        ki.check_curvature(learner, tasks())


@pytest.mark.parametrize("algorithm", [ki.Reptile, lambda: ki.MAML(first_order=True)])
def test_there_is_nothing_to_check_without_second_derivatives(algorithm):
    assert ki.check_curvature(learner_with(stopped_slope, algorithm()), tasks()) == {}


def test_half_precision_is_refused():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="mixed_bfloat16")])
    learner = ki.MetaLearner(network, ki.IMAML())
    learner.compile(loss="mse")
    with pytest.raises(ValueError, match=r"float32.*without mixed precision.*dense"):
        ki.check_curvature(learner, tasks())


@pytest.mark.slow
@pytest.mark.parametrize(  # of other networks: tests/learner/test_first_step.py
    ("network", "algorithm"),
    [("mlp", "imaml"), ("mlp", "maml"), ("conv4", "imaml_hessian")],
)
def test_no_false_alarm(network, algorithm):
    """Where networks start, and at other weights."""
    learner, data = learner_of(network, algorithm)
    ki.check_curvature(learner, data)
    for number, variable in enumerate(learner.model.trainable_variables):
        noise = np.random.default_rng(number).normal(scale=0.03, size=variable.shape)
        variable.assign_add(noise.astype(variable.dtype))
    ki.check_curvature(learner, data)
