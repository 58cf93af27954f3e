"""Every kind of layer, with weights that differ between tasks: together equals one by one."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_imaml._compat.fallbacks import layers_of
from keras_imaml.batching import TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests import layer_table
from tests.batched import (
    EXAMPLES,
    TASKS,
    check,
    check_curvature,
    graph,
    inputs_of_tasks,
    weights_of_tasks,
)
from tests.batching.keras_layers import LOOPS, VECTORIZED, VOLUME


def network_around(name, d):
    """A layer that comes after weights and before weights."""
    shape, make = {**VECTORIZED, **LOOPS}[name]
    inputs = keras.Input(shape, dtype=d)
    x = make(d)(layers.Dense(4, dtype=d)(inputs))
    return keras.Model(inputs, layers.Dense(2, dtype=d)(layers.Flatten(dtype=d)(x)))


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*one task after the other")
        yield


# On processors convolutions of float64 take another path.
CONVOLUTIONS = [name for name in VECTORIZED if "conv" in name or "_1d" in name or "_2d" in name]
RECURRENT = ("bidirectional", "gru", "simple_rnn")  # slow to trace, as "lstm" is
QUICK = [(name, "float32") for name in VECTORIZED if name not in RECURRENT]
QUICK += [("conv_2d", "float64"), ("depthwise_2d", "float64"), ("max_pooling_2d", "float64")]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow)
        for case in [(name, "float32") for name in VECTORIZED]
        + [(name, "float64") for name in CONVOLUTIONS]
    ],
)
def test_all_tasks_together_equal_one_after_the_other(name, dtype):
    with no_warning():
        check(
            graph, network_around(name, dtype), inputs_of_tasks(dtype, VECTORIZED[name][0]), dtype
        )


@pytest.mark.parametrize("name", ["conv_1d", "conv_2d", "depthwise_2d", "transposed_2d"])
def test_layers_that_do_not_adapt_are_vectorized_too(name):
    model = network_around(name, "float32")
    x = inputs_of_tasks("float32", VECTORIZED[name][0])
    with no_warning():
        check(graph, model, x, "float32", adapt=[model.layers[1].name, model.layers[-1].name])


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOOPS)
def test_what_cannot_be_vectorized_is_correct_and_named(name, dtype):
    model = network_around(name, dtype)
    layer = model.layers[2].name
    with pytest.warns(UserWarning, match=f"layer '{layer}' is evaluated one task after the other"):
        check(graph, model, inputs_of_tasks(dtype, LOOPS[name][0]), dtype)


def test_the_warning_is_given_once(recwarn):
    model = network_around("conv_3d", "float32")
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32", VOLUME)
    for _ in range(3):
        network(phi, x, training=False)
        tf.function(lambda: network(phi, x, training=True).outputs, autograph=False)()
    assert [w.category for w in recwarn if "one task after" in str(w.message)] == [UserWarning]


@pytest.mark.filterwarnings("ignore:.*one task after the other")
@pytest.mark.parametrize(
    "name",
    [
        *("conv_1d", "transposed_2d", "embedding"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("depthwise_2d", "conv_3d")),
    ],
)
def test_products_with_the_hessian_equal_finite_differences(name):
    if name == "embedding":
        model, x = embedding("float64"), words_of_tasks()
    else:
        model = network_around(name, "float64")
        x = inputs_of_tasks("float64", {**VECTORIZED, **LOOPS}[name][0])
    check_curvature(model, x)


def embedding(d):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Conv1D(3, 3, dtype=d)(layers.Embedding(7, 4, dtype=d)(inputs))
    return keras.Model(inputs, layers.Dense(2, dtype=d)(layers.Flatten(dtype=d)(x)))


def words_of_tasks():
    rng = np.random.default_rng(3)
    return tf.constant(rng.integers(0, 7, size=(TASKS, EXAMPLES, 5)).astype("int32"))


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_embeddings_of_words(dtype):
    with no_warning():
        check(graph, embedding(dtype), words_of_tasks(), dtype)


def test_names_of_layers_are_found_in_names_of_operations():
    operations = [
        ("loop_body/model_1/conv_3d_1/convolution", "Conv3D"),
        ("loop_body/model_1/conv_3d_1/again", "Other"),
        ("loop_body/model_1/body_1/strange", "Strange"),
        ("mean", "Nameless"),
    ]
    layer_types = layers_of(operations, ["conv_3d", "body_1"])
    assert layer_types == {"conv_3d": "Conv3D", "body_1": "Strange", "": "Nameless"}


def test_the_page_of_layers_is_of_now():
    text = layer_table.DOCUMENT.read_text(encoding="utf-8")
    assert text == layer_table.replaced(text), "run: python -m tests.layer_table"
