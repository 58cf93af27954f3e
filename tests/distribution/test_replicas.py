"""One device, several on one machine, and several machines learn the same."""

import socket
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.distribution import replicas
from tests import learners, on_replicas
from tests.programs import Program


def start(*arguments):
    return Program(
        ["-m", "tests.on_replicas", *arguments], stderr=subprocess.STDOUT, shortcuts=True
    )


def wait(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-5000:]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for connection in sockets:
        connection.bind(("127.0.0.1", 0))
    ports = [connection.getsockname()[1] for connection in sockets]
    for connection in sockets:
        connection.close()
    return ports


def assert_same(expected, path):
    result = np.load(path)
    assert set(expected) == set(result)
    assert expected["steps"] == 8
    for name in expected:
        np.testing.assert_allclose(expected[name], result[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_devices_and_two_workers_learn_what_one_device_learns(tmp_path):
    ports = free_ports(2)
    workers = [start(tmp_path / f"{i}.npz", "worker", 2, i, *ports) for i in range(2)]
    on_replicas.main(tmp_path / "alone.npz", "one", 1)
    expected = np.load(tmp_path / "alone.npz")
    for index, process in enumerate(workers):
        wait(process)
        assert_same(expected, tmp_path / f"{index}.npz")
    wait(start(tmp_path / "two.npz", "mirrored", 2))
    assert_same(expected, tmp_path / "two.npz")


@pytest.mark.slow
def test_the_last_meta_batch_may_be_of_one_task():
    learner = learners.compiled(learners.small(filters=8))
    tasks = tf.data.Dataset.from_tensor_slices(learners.images(tasks=5)).batch(4)
    history = learner.fit(tasks, verbose=0).history
    assert int(learner.optimizer.iterations) == 2
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("method", ["reset_metrics", "get_metrics_result"])
def test_a_worker_that_is_lost_between_steps_is_named(method, scoped, monkeypatch):
    def fail(self):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")

    monkeypatch.setattr(keras.Model, method, fail)
    with pytest.raises(tf.errors.UnavailableError):  # without other workers none is lost
        getattr(scoped[1], method)()
    monkeypatch.setattr(replicas, "has_workers", lambda _: True)
    with pytest.raises(ConnectionError, match="Another worker has ended.*Socket closed"):
        getattr(scoped[1], method)()


def test_a_parameter_server_is_refused(monkeypatch):
    class Strategy(tf.distribute.experimental.ParameterServerStrategy):
        def __init__(self):
            pass

    monkeypatch.setattr(tf.distribute, "get_strategy", Strategy)
    with pytest.raises(ValueError, match="ParameterServerStrategy is asynchronous"):
        ki.MetaLearner(learners.small(), learners.imaml())


@pytest.mark.parametrize("part", ["network", "learner", "all"])
def test_what_was_made_outside_of_the_scope_is_refused(part, monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    scope = strategy.scope()

    def make():
        network = learners.small()
        if part == "network":
            with scope:
                ki.MetaLearner(network, learners.imaml())
        learner = ki.MetaLearner(network, learners.imaml())
        if part == "learner":
            with scope:
                learner.compile("sgd", learners.cross_entropy())
        learner.compile("sgd", learners.cross_entropy())
        with scope:
            learner.fit(*learners.images(), verbose=0)

    # as on several devices
    monkeypatch.setattr(replicas, "is_distributed", lambda s: s is strategy)
    with pytest.raises(
        ValueError, match=r"not made in the scope.*`with strategy.scope\(\):`.*conv"
    ):
        make()


@pytest.mark.slow
def test_compile_makes_variables_in_the_scope_of_the_learner():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        learner = ki.MetaLearner(learners.small(), learners.imaml())
    learner.compile("adam", learners.cross_entropy(), metrics=["accuracy"])
    learner.evaluate(*learners.images(), verbose=0)
    variables = [*learner.optimizer.variables, *(v for m in learner.metrics for v in m.variables)]
    assert len(variables) > 10
    assert all(strategy.extended.variable_created_in_scope(v._value) for v in variables)


@pytest.mark.parametrize(
    ("part", "make"),
    [
        ("optimizer", lambda: keras.optimizers.Adam(name="mine")),
        (
            "optimizer",
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), name="mine"),
        ),
        ("metrics", lambda: [keras.metrics.SparseCategoricalAccuracy(name="mine")]),
        ("metrics", lambda: [["accuracy", keras.metrics.MeanSquaredError(name="mine")]]),
        ("metrics", lambda: {"head": keras.metrics.MeanSquaredError(name="mine")}),
        ("weighted_metrics", lambda: [keras.metrics.MeanSquaredError(name="mine")]),
    ],
)
def test_what_compile_takes_is_made_in_the_scope(part, make, scoped, monkeypatch):
    strategy, learner = scoped
    monkeypatch.setattr(replicas, "is_distributed", lambda s: s is strategy)
    with pytest.raises(ValueError, match=r"made outside: \['mine'\]"):
        learner.compile(**{"optimizer": "sgd", "loss": learners.cross_entropy(), part: make()})
    with strategy.scope():
        argument = make()
    learner.compile(**{"optimizer": "sgd", "loss": learners.cross_entropy(), part: argument})


@pytest.fixture(scope="module")
def scoped():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        return strategy, ki.MetaLearner(learners.small(), learners.imaml())
