"""A silent change of TensorFlow or Keras is noticed when a learner is made."""

import contextlib
import random

import keras
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat import exact_conversions, lora, second_derivatives, self_check

CHECKS = {**self_check.CHECKS, **self_check.LORA_CHECKS}


@contextlib.contextmanager
def null_context(*_, **__):
    yield []


@pytest.fixture
def no_checks_passed(monkeypatch):
    monkeypatch.setattr(self_check, "_passed", set())


def of_stock_tensorflow(kind):
    def change(monkeypatch):
        registry = second_derivatives._registry
        (stock,) = registry[kind]["type"].args
        monkeypatch.setitem(registry, kind, {**registry[kind], "type": stock})

    return change


# What each check would see after a silent change.
CHANGES = {
    "second derivatives of normalization": lambda m: m.setattr(
        self_check, "exact_moments", null_context
    ),
    "second derivatives of resized images": of_stock_tensorflow("ResizeBilinear"),
    "second derivatives of a cross-entropy for its labels": of_stock_tensorflow(
        "SoftmaxCrossEntropyWithLogits"
    ),
    "random numbers of tasks": lambda m: m.setattr(self_check, "draws_refused", null_context),
    "losses on several replicas": lambda m: m.setattr(self_check, "scaling_noted", null_context),
    "losses of some of the examples": lambda m: m.setattr(self_check, "with_mask", lambda x, _: x),
    "custom gradients in a network": lambda m: m.setattr(
        self_check, "custom_gradients_noted", null_context
    ),
    "variables that a layer reads past Keras": lambda m: m.setattr(
        self_check, "read_in", lambda _: []
    ),
    "Python functions in a network": lambda m: m.setattr(self_check, "python_noted", null_context),
    "operations on all tasks at once": lambda m: m.setattr(
        exact_conversions, "is_available", False
    ),
    "layers with LoRA": lambda m: m.setitem(
        lora._ours, keras.layers.Dense, lambda layer, x, training=None: 2 * x
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_holds_here_passes(name):
    assert CHECKS[name]()


@pytest.mark.parametrize("name", CHECKS)
def test_a_change_is_refused_by_name(name, monkeypatch, no_checks_passed):
    CHANGES[name](monkeypatch)
    with pytest.raises(RuntimeError, match=f"{name} would be wrong.*pip install.*Received: keras"):
        self_check.check_once(lora=True)


def test_a_learner_is_what_asks_and_asks_once(monkeypatch, no_checks_passed):
    calls = []
    monkeypatch.setattr(self_check, "CHECKS", {"this": lambda: not calls.append(1)})
    for _ in range(2):
        ki.MetaLearner(ki.models.MLP(1, (2,)), ki.IMAML())
    assert calls == [1]


def test_nothing_of_the_caller_changes(no_checks_passed):
    def names():
        return [keras.layers.Dense(1, "relu", kernel_initializer="ones").name, random.random()]

    keras.utils.set_random_seed(0)
    names()
    expected = names()
    keras.utils.set_random_seed(0)
    names()
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope(), tf.GradientTape() as tape:
        self_check.check_once(lora=True)
    after = names()
    assert after[1] == expected[1]
    assert int(after[0].split("_")[1]) == int(expected[0].split("_")[1]) + 2
    assert tape.watched_variables() == ()
