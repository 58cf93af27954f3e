"""Every kind of layer, with weights that differ between tasks: together equals one by one."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml._compat.fallbacks import layers_of
from keras_imaml.batching import TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests.batched import (
    EXAMPLES,
    TASKS,
    check,
    check_curvature,
    graph,
    inputs_of_tasks,
    weights_of_tasks,
)

LINE, IMAGE, VOLUME, VECTOR = (6, 2), (6, 6, 2), (4, 4, 4, 2), (4,)


def attend(layer):
    return lambda x: layer(x, x)


# name: (shape of an input, what is applied to it)
VECTORISED = {
    "dense": (VECTOR, lambda d: layers.Dense(3, activation="tanh", dtype=d)),
    "einsum_dense": (LINE, lambda d: layers.EinsumDense("abc,cd->abd", (6, 3), dtype=d)),
    "conv_1d": (LINE, lambda d: layers.Conv1D(3, 3, dtype=d)),
    "conv_1d_causal": (LINE, lambda d: layers.Conv1D(3, 3, padding="causal", dtype=d)),
    "conv_2d": (IMAGE, lambda d: layers.Conv2D(3, 3, strides=2, padding="same", dtype=d)),
    "depthwise_1d": (LINE, lambda d: layers.DepthwiseConv1D(3, depth_multiplier=2, dtype=d)),
    "depthwise_2d": (IMAGE, lambda d: layers.DepthwiseConv2D(3, depth_multiplier=2, dtype=d)),
    "depthwise_2d_same": (
        IMAGE,
        lambda d: layers.DepthwiseConv2D(3, strides=2, padding="same", dtype=d),
    ),
    "separable_1d": (LINE, lambda d: layers.SeparableConv1D(3, 3, dtype=d)),
    "separable_2d": (IMAGE, lambda d: layers.SeparableConv2D(3, 3, padding="same", dtype=d)),
    "transposed_1d": (LINE, lambda d: layers.Conv1DTranspose(3, 3, strides=2, dtype=d)),
    "transposed_2d": (IMAGE, lambda d: layers.Conv2DTranspose(3, 3, dtype=d)),
    "transposed_2d_same": (
        IMAGE,
        lambda d: layers.Conv2DTranspose(3, 3, strides=2, padding="same", dtype=d),
    ),
    "attention": (LINE, lambda d: attend(layers.MultiHeadAttention(2, 2, dtype=d))),
    "grouped_attention": (LINE, lambda d: attend(layers.GroupQueryAttention(2, 4, 2, dtype=d))),
    "additive_attention": (LINE, lambda d: lambda x: layers.AdditiveAttention(dtype=d)([x, x])),
    "task_batch_normalization": (IMAGE, lambda d: ki.layers.TaskBatchNormalization(dtype=d)),
    "layer_normalization": (IMAGE, lambda d: layers.LayerNormalization(dtype=d)),
    "group_normalization": (IMAGE, lambda d: layers.GroupNormalization(2, dtype=d)),
    "rms_normalization": (IMAGE, lambda d: layers.RMSNormalization(dtype=d)),
    "unit_normalization": (IMAGE, lambda d: layers.UnitNormalization(dtype=d)),
    "prelu": (IMAGE, lambda d: layers.PReLU(shared_axes=[1, 2], dtype=d)),
    "gru": (LINE, lambda d: layers.GRU(3, dtype=d)),
    "lstm": (LINE, lambda d: layers.LSTM(3, dtype=d)),
    "simple_rnn": (LINE, lambda d: layers.SimpleRNN(3, return_sequences=True, dtype=d)),
    "bidirectional": (LINE, lambda d: layers.Bidirectional(layers.GRU(3, dtype=d), dtype=d)),
    "time_distributed": (
        IMAGE,
        lambda d: layers.TimeDistributed(layers.Dense(3, dtype=d), dtype=d),
    ),
    "max_pooling_1d": (LINE, lambda d: layers.MaxPooling1D(2, dtype=d)),
    "max_pooling_2d": (IMAGE, lambda d: layers.MaxPooling2D(2, dtype=d)),
    "average_pooling_2d": (IMAGE, lambda d: layers.AveragePooling2D(2, dtype=d)),
    "max_pooling_3d": (VOLUME, lambda d: layers.MaxPooling3D(2, dtype="float32")),
    "global_max_pooling": (IMAGE, lambda d: layers.GlobalMaxPooling2D(dtype=d)),
    "up_sampling_2d": (IMAGE, lambda d: layers.UpSampling2D(2, dtype=d)),
    "zero_padding": (IMAGE, lambda d: layers.ZeroPadding2D(1, dtype=d)),
    "cropping": (IMAGE, lambda d: layers.Cropping2D(1, dtype=d)),
    "permute": (LINE, lambda d: layers.Permute((2, 1), dtype=d)),
    "softmax": (LINE, lambda d: layers.Softmax(dtype=d)),
    "up_sampling_2d_bilinear": (
        IMAGE,
        lambda d: layers.UpSampling2D(2, interpolation="bilinear", dtype=d),
    ),
}
LOOPS = {
    "conv_3d": (VOLUME, lambda d: layers.Conv3D(3, 3, dtype=d)),
    "transposed_3d": (VOLUME, lambda d: layers.Conv3DTranspose(3, 3, dtype=d)),
}


def between(name, d):
    """A layer that comes after weights and before weights."""
    shape, make = {**VECTORISED, **LOOPS}[name]
    inputs = keras.Input(shape, dtype=d)
    x = make(d)(layers.Dense(4, dtype=d)(inputs))
    return keras.Model(inputs, layers.Dense(2, dtype=d)(layers.Flatten(dtype=d)(x)))


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*one task after the other")
        yield


# On processors convolutions of float64 take another path.
CONVOLUTIONS = [name for name in VECTORISED if "conv" in name or "_1d" in name or "_2d" in name]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in VECTORISED] + [(name, "float64") for name in CONVOLUTIONS],
)
def test_all_tasks_together_equal_one_after_the_other(name, dtype):
    with no_warning():
        check(graph, between(name, dtype), inputs_of_tasks(dtype, VECTORISED[name][0]), dtype)


@pytest.mark.parametrize("name", ["conv_1d", "conv_2d", "depthwise_2d", "transposed_2d"])
def test_layers_that_do_not_adapt_are_vectorized_too(name):
    model = between(name, "float32")
    x = inputs_of_tasks("float32", VECTORISED[name][0])
    with no_warning():
        check(graph, model, x, "float32", adapt=[model.layers[1].name, model.layers[-1].name])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LOOPS)
def test_what_cannot_be_vectorized_is_correct_and_named(name, dtype):
    model = between(name, dtype)
    layer = model.layers[2].name
    with pytest.warns(UserWarning, match=f"layer '{layer}' is evaluated one task after the other"):
        check(graph, model, inputs_of_tasks(dtype, LOOPS[name][0]), dtype)


def test_it_is_said_once(recwarn):
    model = between("conv_3d", "float32")
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32", VOLUME)
    for _ in range(3):
        network(phi, x, training=False)
        tf.function(lambda: network(phi, x, training=True).outputs, autograph=False)()
    assert [w.category for w in recwarn if "one task after" in str(w.message)] == [UserWarning]


@pytest.mark.filterwarnings("ignore:.*one task after the other")
@pytest.mark.parametrize(
    "name", ["conv_1d", "transposed_2d", "depthwise_2d", "embedding", "conv_3d"]
)
def test_products_with_the_hessian_equal_finite_differences(name):
    if name == "embedding":
        model, x = embedding("float64"), words_of_tasks()
    else:
        model = between(name, "float64")
        x = inputs_of_tasks("float64", {**VECTORISED, **LOOPS}[name][0])
    check_curvature(model, x)


def embedding(d):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Conv1D(3, 3, dtype=d)(layers.Embedding(7, 4, dtype=d)(inputs))
    return keras.Model(inputs, layers.Dense(2, dtype=d)(layers.Flatten(dtype=d)(x)))


def words_of_tasks():
    rng = np.random.default_rng(3)
    return tf.constant(rng.integers(0, 7, size=(TASKS, EXAMPLES, 5)).astype("int32"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_embeddings_of_words(dtype):
    with no_warning():
        check(graph, embedding(dtype), words_of_tasks(), dtype)


def test_names_of_layers_are_found_in_names_of_operations():
    noted = [
        ("loop_body/model_1/conv_3d_1/convolution", "Conv3D"),
        ("loop_body/model_1/conv_3d_1/again", "Other"),
        ("loop_body/model_1/body_1/strange", "Strange"),
        ("mean", "Nameless"),
    ]
    found = layers_of(noted, ["conv_3d", "body_1"])
    assert found == {"conv_3d": "Conv3D", "body_1": "Strange", "": "Nameless"}
