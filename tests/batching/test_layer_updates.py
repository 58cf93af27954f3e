"""Layers that change state while they are called are refused, by their name."""

import random
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching import TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters


class RunningMean(layers.Layer):
    def build(self, shape):
        self.mean = self.add_weight(shape=shape[-1:], trainable=False, name="mean")

    def call(self, x):
        self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(x, 0))
        return x


class Counter(layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, dtype="int32", name="calls")

    def call(self, x):
        self.calls.assign_add(1)
        return x


class CounterOfTensorFlow(layers.Layer):
    def build(self, shape):
        self.calls = tf.Variable(0.0)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x


class OfTensorFlow(layers.Layer):
    """Changes a variable or a table by other operations than an assignment of all of it."""

    def __init__(self, change, **settings):
        super().__init__(**settings)
        self.change = change
        self.held = tf.Variable(tf.zeros([2]), trainable=False)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def call(self, x):
        self.change(self)
        return x


class Monitored(layers.Layer):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, x):
        self.seen.update_state(keras.ops.mean(x))
        return x


class Within(layers.Layer):
    """A layer in a layer."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.counter = Counter(name="counter")

    def call(self, x):
        return self.counter(x)


class Drawing(layers.Layer):
    def __init__(self, draw, **settings):
        super().__init__(**settings)
        self.draw = draw

    def call(self, x):
        return x + keras.ops.cast(self.draw(), x.dtype)


class DrawingIn(layers.Layer):
    """A draw within control flow."""

    def __init__(self, control_flow, **settings):
        super().__init__(**settings)
        self.control_flow = control_flow

    def call(self, x):
        return x + self.control_flow(lambda: tf.random.normal([]), tf.reduce_mean(x))


def in_a_condition(function, number):
    return tf.cond(number > 0, lambda: function() + 0, lambda: 0.0)


def in_a_loop(function, number):
    return tf.while_loop(lambda v: v < number, lambda v: [v + 1 + function()], [0.0])[0]


def in_a_case_in_a_condition(function, number):
    def switched():
        return tf.switch_case(tf.cast(number, tf.int32), [lambda: function() + 0, lambda: 0.0])

    return in_a_condition(switched, number)


CONTROL_FLOWS = {
    "condition": in_a_condition,
    "loop": in_a_loop,
    "case_in_a_condition": in_a_case_in_a_condition,
}
FIRST = tf.constant([0], tf.int64)
CHANGES = {
    "scatter": lambda owner: owner.held.scatter_add(tf.IndexedSlices(tf.ones([1]), FIRST)),
    "scatter_nd": lambda owner: owner.held.scatter_nd_update([[1]], [1.0]),
    "slice": lambda owner: owner.held[0].assign(1.0),
    "subtraction": lambda owner: owner.held.assign_sub([1.0, 1.0]),
    "table": lambda owner: owner.table.insert(FIRST, [1.0]),
}
UPDATES = {  # name: (the layer, what the message calls it)
    "running_mean": (lambda: RunningMean(name="own"), "own"),
    "counter": (lambda: Counter(name="own"), "own"),
    "counter_of_tensorflow": (lambda: CounterOfTensorFlow(name="own"), "own"),
    **{
        name: (lambda change=change: OfTensorFlow(change, name="own"), "own")
        for name, change in CHANGES.items()
    },
    "metric": (lambda: Monitored(name="own"), "own"),
    "nested": (lambda: Within(name="own"), "own/counter"),
    "spectral": (lambda: layers.SpectralNormalization(layers.Dense(4), name="own"), "own"),
}
DRAWS = {
    "normal": (lambda: tf.random.normal([]), "The layer 'own' draws by an operation"),
    "generator": (tf.random.Generator.from_seed(1).normal, "The layer 'own' draws by an operation"),
    "python": (random.random, "draws by Python's or NumPy's"),
    "numpy": (np.random.rand, "draws by Python's or NumPy's"),
}


def evaluate(layer, training=True):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layer, layers.Dense(2)])
    parameters = Parameters(model)
    phi = tf.repeat(parameters.theta()[None], 3, 0)
    return TaskNetwork(model, parameters)(phi, tf.ones([3, 2, 4]), training).outputs


@pytest.mark.parametrize("name", UPDATES)
def test_what_changes_state_is_refused_by_name(name):
    make, layer_name = UPDATES[name]
    with pytest.raises(
        ValueError, match=rf"The layer '(sequential\w*/)?{layer_name}' changes state"
    ):
        evaluate(make())


@pytest.mark.parametrize("name", DRAWS)
def test_draws_that_no_seed_of_keras_determines_are_refused(name):
    draw, message = DRAWS[name]
    with pytest.raises(ValueError, match=f"{message}.*keras.random.SeedGenerator"):
        evaluate(Drawing((lambda: draw([])) if name == "generator" else draw, name="own"))


def test_draws_beside_other_threads_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert evaluate(Drawing(random.random, name="own")).shape == (3, 2, 2)


@pytest.mark.parametrize("name", CONTROL_FLOWS)
def test_draws_within_functions_of_a_graph_are_refused(name):
    with pytest.raises(ValueError, match="The layer 'own' draws by an operation"):
        evaluate(DrawingIn(CONTROL_FLOWS[name], name="own"))


@pytest.mark.parametrize("kind", [layers.GRU, layers.LSTM, layers.SimpleRNN])
def test_stateful_recurrence_is_refused_by_a_learner(kind):
    parts = [keras.Input((2, 4), batch_size=3), kind(3, stateful=True, name="memory")]
    with pytest.raises(ValueError, match="memory' changes state.*stateful=False"):
        ki.MetaLearner(keras.Sequential([*parts, layers.Dense(2)]), ki.MAML())


def test_state_that_only_training_changes_is_no_obstacle_without_training():
    outputs = evaluate(layers.SpectralNormalization(layers.Dense(4)), training=False)
    assert outputs.shape == (3, 2, 2)


def test_a_variable_that_a_callback_updates_is_read_in_every_step():
    scale = layers.Rescaling(1.0)
    scale.factor = keras.Variable(1.0, trainable=False)
    scale.call = lambda x: x * scale.factor
    model = keras.Sequential([keras.Input((4,)), scale, layers.Dense(2, use_bias=False)])
    parameters = Parameters(model)
    network, phi = TaskNetwork(model, parameters), tf.ones([3, parameters.size])
    first = network(phi, tf.ones([3, 2, 4]), training=True).outputs
    scale.factor.assign(2.0)
    second = network(phi, tf.ones([3, 2, 4]), training=True).outputs
    np.testing.assert_allclose(second, 2 * first.numpy())
