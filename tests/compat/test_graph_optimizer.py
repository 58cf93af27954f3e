"""TensorFlow's optimizer leaves sums alone, so that large loops run more than once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat import graph_optimizer
from keras_imaml._utils.tracing import Traced
from keras_imaml.learner.meta_batch import meta_gradient


@pytest.fixture
def learner_and_tasks():
    """About 300 MB of activations: TensorFlow's limit is 80 % of 256 MiB."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    layers = [keras.layers.Dense(64, "tanh") for _ in range(3)]
    network = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])
    learner = ki.MetaLearner(network, ki.MAML(ki.inner.GradientDescent(1, 0.1)))
    learner.compile(keras.optimizers.SGD(0.01), "mse")
    x = np.random.default_rng(0).random((2, 40000, 1)).astype("float32")
    return learner, ((x, x), (x, x))


def test_a_second_step_of_large_tasks_runs(learner_and_tasks):
    learner, tasks = learner_and_tasks
    losses = [learner.train_on_batch(*tasks, return_dict=True)["loss"] for _ in range(2)]
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_a_second_call_of_a_traced_function_runs(learner_and_tasks):
    learner, tasks = learner_and_tasks

    def gradients(tasks):
        objective = learner.objective(tasks, training=True)
        return meta_gradient(learner.algorithm, objective, learner.trainable_variables, None).sums

    learner.train_on_batch(*tasks)
    graph = Traced(gradients)
    first, second = graph(tasks), graph(tasks)
    np.testing.assert_array_equal(first[0], second[0])


def test_options_of_the_caller_come_back():
    def options():
        return graph_optimizer.context.context().function_call_options.config_proto_serialized

    before = options()
    with graph_optimizer.learner_graphs():
        inner_options = options()
        with pytest.raises(ZeroDivisionError), graph_optimizer.learner_graphs():
            raise ZeroDivisionError
        assert options() == inner_options != before
    assert options() == before


def test_without_the_private_interface_graphs_run(monkeypatch):
    monkeypatch.setattr(graph_optimizer, "context", None)
    assert float(Traced(tf.square)(tf.constant(3.0))) == 9
