"""At the first step of training, missing second derivatives are refused by the layer's name."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from benchmarks.cost.tracing import learner_of
from keras_imaml.learner.first_step import half_precision
from tests import programs
from tests.batching import keras_layers, random_layers
from tests.curvature.slopes import rounded_value, stopped_slope, straight_slope
from tests.refusals import GEOMETRIC

pytestmark = [
    pytest.mark.first_step_checked,
    pytest.mark.filterwarnings("ignore:.*one task after the other"),
]
WAY_OUT = r"custom_gradient.*adapt.*first_order=True.*check_curvature=False"


def squares_once(y, z):
    return tf.reduce_mean(stopped_slope(tf.square(y - z)) * tf.exp(z))


def network(function):
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(4, name="first"),
        keras.layers.Lambda(function, name="mine"),
        keras.layers.Dense(2, activation="tanh", name="last"),
    ]
    return keras.Sequential(layers, name="net")


def imaml(**settings):
    return ki.IMAML(1.0, ki.inner.GradientDescent(1), ki.linear.ConjugateGradient(1), **settings)


def maml(**settings):
    return ki.MAML(ki.inner.GradientDescent(1), **settings)


def learner_with(function, algorithm=None, loss="mse", adapt=None, **settings):
    learner = ki.MetaLearner(network(function), algorithm or imaml(), adapt=adapt)
    learner.compile(loss=loss, **settings)
    return learner


def tasks():
    random = np.random.default_rng(0)
    part = lambda: (random.normal(size=(2, 5, 3)), random.normal(size=(2, 5, 2)))  # noqa: E731
    return tf.nest.map_structure(lambda x: x.astype("float32"), (part(), part()))


def data():
    return tf.data.Dataset.from_tensors(tasks()).repeat()


TRANSPOSED, DIFFERENT = "do not belong to its gradient", "are other than differences"
HESSIAN = {"curvature": "hessian"}

# name: (function, loss, arguments of iMAML, what the error says)
CASES = {
    "layer": (stopped_slope, "mse", {}, f"'net/mine' {TRANSPOSED}"),
    "bend": (straight_slope, "mse", HESSIAN, f"'net/mine' {DIFFERENT}"),
    "loss": (tf.sin, squares_once, {}, f"of the loss {TRANSPOSED}"),
    "fine": (tf.sin, "mse", HESSIAN, None),
    "bend that Gauss-Newton leaves out": (straight_slope, "mse", {}, None),
    "straight through": (rounded_value, "mse", HESSIAN, None),
    "kinks": (tf.nn.relu, "mae", HESSIAN, None),
}


def check(learner):
    """What `fit` does after a step that `FirstStep.keep` was a part of, without the step."""
    (x, y), _ = tasks()
    learner._objectives.outer_loss.compiled.build(tf.constant(y[0]), tf.zeros([5, 2]))
    learner.first_step.keep((tf.constant(x), tf.constant(y)))
    learner.first_step.check()


@pytest.mark.parametrize("name", CASES)
def test_the_derivatives_that_an_algorithm_needs_are_checked(name):
    function, loss, settings, message = CASES[name]
    learner = learner_with(function, imaml(**settings), loss)
    if message is None:
        check(learner)
    else:
        with pytest.raises(ValueError, match=f"{message}.*{WAY_OUT}"):
            check(learner)


@pytest.mark.slow
def test_padded_examples_are_ignored_by_the_check():
    (x, y), query = tasks()
    weights = np.ones((2, 5), "float32")
    weights[:, 2:], x[:, 2:] = 0, np.nan
    learner = learner_with(stopped_slope, run_eagerly=True)
    with pytest.raises(ValueError, match="'net/mine'"):
        learner.train_on_batch((x, y, weights), query)


@pytest.mark.slow
def test_on_a_batch_without_a_graph():
    with pytest.raises(ValueError, match="'net/mine'"):
        learner_with(stopped_slope, run_eagerly=True).train_on_batch(*tasks())


def test_in_a_graph_and_once():
    learner = learner_with(stopped_slope, steps_per_execution=2)
    with pytest.raises(ValueError, match="'net/mine'"):
        learner.fit(data(), steps_per_epoch=4, verbose=0)
    assert int(learner.optimizer.iterations) == 2
    learner.fit(data(), steps_per_epoch=2, verbose=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": ki.Reptile},
        {"algorithm": lambda: maml(first_order=True)},
        {"algorithm": maml, "check_curvature": False},
        {"algorithm": maml, "adapt": "last"},  # what comes before is differentiated once
    ],
)
def test_the_check_is_skipped_without_second_derivatives(settings):
    settings = {**settings, "algorithm": settings["algorithm"]()}
    check(learner_with(stopped_slope, **settings))


def test_maml_with_weights_that_all_tasks_share():
    with pytest.raises(ValueError, match=f"'net/mine' {DIFFERENT}"):
        check(learner_with(straight_slope, maml(), adapt=["first", "last"]))
    check(learner_with(straight_slope, maml(), adapt="last"))


def test_the_setting_is_saved(tmp_path):
    learner = ki.MetaLearner(ki.models.MLP(2, (3,)), imaml())
    learner.compile(loss="mse", check_curvature=False)
    assert learner.get_compile_config()["check_curvature"] is False
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.saving.load_model(tmp_path / "learner.keras")
    assert loaded_learner.get_compile_config()["check_curvature"] is False


def test_nothing_is_changed():
    """No weight, and no state of a generator; layers that draw do so in the check, too."""
    draws = keras.layers.GaussianNoise(0.5, seed=1)
    learner = learner_with(lambda x: draws(tf.sin(x), training=True) + keras.random.normal([4]))
    variables = [*learner.variables, *draws.variables, learner.random_streams.unseeded.state]
    before = [v.numpy() for v in variables]
    check(learner)
    for start, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(variable, start, err_msg=variable.path)


def test_a_layer_that_needs_a_graph_is_told_of():
    def only_in_graphs(x):
        if tf.executing_eagerly():
            raise RuntimeError("not here")
        return tf.sin(x)

    learner = learner_with(tf.sin)
    learner.model.get_layer("mine").function = only_in_graphs
    learner.first_step._kept = tf.nest.map_structure(lambda x: tf.constant(x[0]), tasks()[0])
    with pytest.warns(UserWarning, match=r"(?s)could not be checked.*RuntimeError: .*not here"):
        learner.first_step.check()


@pytest.mark.slow
def test_on_replicas():
    program = """
import keras_imaml as ki
from tests.learner.test_first_step import *
strategy = ki.strategy("mirrored", devices=2)
for function in (tf.sin, stopped_slope):
    with strategy.scope():
        learner = learner_with(function)
    try:
        learner.fit(data(), steps_per_epoch=1, verbose=0)
        print("fine")
    except ValueError as error:
        print("'net/mine'" in str(error))
"""
    process = programs.run(["-c", program])
    assert process.stdout.split() == ["fine", "True"], process.stderr[-2000:]


def image_network(shape, layer):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(keras.layers.Dense(shape[-1], "sigmoid")(inputs)))


def message_of(model, shape):
    learner = ki.MetaLearner(model, ki.MAML())
    learner.compile(loss="mse")
    x = np.random.default_rng(0).uniform(size=(4, *shape)).astype("float32")
    y = tf.random.normal(model(x).shape, seed=1)
    learner._objectives.outer_loss.compiled.build(y, y)
    return learner.first_step._message(tf.constant(x), y)


@pytest.mark.slow
def test_no_layer_of_keras_is_a_false_alarm():
    messages = {}
    for name, (shape, make) in {**keras_layers.VECTORIZED, **keras_layers.LOOPS}.items():
        messages[name] = message_of(image_network(shape, make("float32")), shape)
    for name, (shape, make) in {**random_layers.QUICK, **random_layers.SLOW}.items():
        messages[name] = message_of(image_network(shape, make()), shape)
    # TensorFlow's gradient of a projective transform is not the derivative of its values.
    assert {name for name, message in messages.items() if message} == set(map(str.lower, GEOMETRIC))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "algorithm"),
    [
        *itertools.product(("conv4", "mlp"), ("imaml", "imaml_hessian", "maml")),
        ("lstm", "imaml_hessian"),
        ("masked_lstm", "maml"),
        ("resnet12", "maml"),
    ],
)
def test_no_network_is_a_false_alarm(network, algorithm):
    learner, data = learner_of(network, algorithm)
    (x, y), _ = next(iter(data))
    learner._objectives.outer_loss.compiled.build(y[0], learner.model(x[0]))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not be checked")
        learner.first_step.keep((x, y))
        learner.first_step.check()
    assert learner.first_step._message(x[1], y[1]) is None


def test_layers_of_a_network_in_half_precision_are_named():
    learner = ki.MetaLearner(ki.models.Conv4(2, (8, 8, 1), 2, dtype="mixed_bfloat16"), ki.IMAML())
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert {"conv_1", "conv_2"} <= {path.split("/")[-1] for path in half_precision(learner)}
