"""Layers evaluated for all tasks by rule equal the network task by task."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching import TaskNetwork, layer_rules
from keras_imaml.batching.layer_rules import LayerRules
from keras_imaml.meta_parameters.parameters import Parameters
from tests.batched import TASKS, check, check_curvature, graph, inputs_of_tasks, weights_of_tasks

NORM = ki.layers.TaskBatchNormalization


def stack(*parts):
    """A chain of layers on images, made with a dtype."""
    return lambda d: keras.Sequential(
        [keras.Input((6, 6, 2), dtype=d), *(kind(*a, dtype=d, **k) for kind, a, k in parts)]
    )


def part(kind, *arguments, **settings):
    return kind, arguments, settings


def merged(kind):
    def build(d):
        inputs = keras.Input((6, 6, 2), dtype=d)
        x = layers.Conv2D(3, 3, padding="same", activation="tanh", dtype=d)(inputs)
        y = layers.Conv2D(3, 1, dtype=d)(inputs)
        return keras.Model(inputs, layers.Flatten(dtype=d)(kind(dtype=d)([x, y])))

    return build


def partly_folded(d):
    """A sum of images that lie side by side and images that do not."""
    inputs = keras.Input((6, 6, 2), dtype=d)
    x = layers.Conv2D(2, 3, padding="same", dtype=d)(inputs)
    return keras.Model(inputs, layers.Add(dtype=d)([x, inputs]))


CONV = part(layers.Conv2D, 4, 3, padding="same")
NETWORKS = {
    "convolution": stack(CONV),
    "strides": stack(part(layers.Conv2D, 4, 3, strides=2, activation="tanh")),
    "groups": stack(part(layers.Conv2D, 4, 3, groups=2)),
    "no bias": stack(part(layers.Conv2D, 4, (2, 3), use_bias=False), part(layers.Flatten)),
    "normalization": stack(CONV, part(NORM), CONV),
    "normalization of inputs": stack(part(NORM), CONV),
    "only scaled": stack(CONV, part(NORM, center=False)),
    "only shifted": stack(CONV, part(NORM, scale=False)),
    "only centered": stack(CONV, part(NORM, divide=False)),
    "centered": stack(CONV, part(ki.layers.Centering)),
    "fixed statistics": stack(CONV, part(NORM, fixed=True)),
    "normalized features": stack(part(layers.Flatten), part(layers.Dense, 3), part(NORM)),
    "max pooling": stack(CONV, part(layers.MaxPooling2D, 2), part(layers.Flatten)),
    "average pooling": stack(part(layers.AveragePooling2D, 3, 1), CONV),
    "global average": stack(CONV, part(layers.GlobalAveragePooling2D), part(layers.Dense, 2)),
    "global maximum": stack(CONV, part(layers.GlobalMaxPooling2D, keepdims=True)),
    "global average of inputs": stack(part(layers.GlobalAveragePooling2D), part(layers.Dense, 2)),
    "activations": stack(
        CONV,
        part(layers.Activation, "gelu"),
        part(layers.LeakyReLU),
        part(layers.ReLU, 4.0),
        part(layers.Activation, "linear"),
    ),
    "dense on images": stack(part(layers.Dense, 3, activation="tanh"), part(layers.Dense, 1)),
    "dense on one number": stack(
        part(layers.Flatten), part(layers.Dense, 1), part(layers.Dense, 3)
    ),
    "tied": stack(CONV, part(layers.Flatten), part(ki.layers.TiedDense, 3)),
    "padding": stack(CONV, part(layers.ZeroPadding2D, 1), part(layers.Cropping2D, 2), CONV),
    "upsampling": stack(CONV, part(layers.UpSampling2D, 2), CONV),
    "bilinear upsampling": stack(
        CONV, part(layers.UpSampling2D, 2, interpolation="bilinear"), CONV
    ),
    "reshaping": stack(
        CONV, part(layers.Reshape, (3, 12, 4)), part(layers.Permute, (2, 1, 3)), CONV
    ),
    "rescaling": stack(part(layers.Rescaling, [2.0, 3.0], offset=0.5), CONV),
    "unit length": stack(CONV, part(layers.UnitNormalization, [2, -1]), CONV),
    "layer normalization": stack(CONV, part(layers.LayerNormalization), CONV),
    "layer normalization of images": stack(
        CONV, part(layers.LayerNormalization, axis=[1, 2, 3], epsilon=0.1)
    ),
    "layer normalization of columns": stack(
        CONV, part(layers.LayerNormalization, axis=(3, 1), center=False), CONV
    ),
    "layer normalization of inputs": stack(part(layers.LayerNormalization, scale=False), CONV),
    "layer normalization of features": stack(
        part(layers.Flatten), part(layers.Dense, 3), part(layers.LayerNormalization)
    ),
    "sum": merged(layers.Add),
    "product": merged(layers.Multiply),
    "difference": merged(layers.Subtract),
    "maximum": merged(layers.Maximum),
    "average": merged(layers.Average),
    "partly folded": partly_folded,
    "Conv4": lambda d: ki.models.Conv4(3, (6, 6, 2), 4, dtype=d),
    "cosine": lambda d: ki.models.Conv4(3, (6, 6, 2), 4, cosine=True, tied_head=True, dtype=d),
    "ResNet12": lambda d: ki.models.ResNet12(3, (6, 6, 2), (3, 4), dtype=d),
    "MLP": lambda d: ki.models.MLP(1, (6, 6, 2), (4,), "tanh", dtype=d),
}
UNSUPPORTED = {
    "dilation": stack(part(layers.Conv2D, 3, 2, dilation_rate=2)),
    "softmax": stack(part(layers.Conv2D, 3, 2, activation="softmax")),
    "unit length of examples": stack(CONV, part(layers.UnitNormalization, [0, -1])),
    "dropout": stack(CONV, part(layers.Dropout, 0.5)),
    "normalization of groups": stack(CONV, part(layers.GroupNormalization, 2)),
    "layer normalization of examples": lambda d: keras.Sequential(
        [keras.Input(batch_shape=(4, 3)), layers.LayerNormalization(axis=[0, -1], dtype=d)]
    ),
}


def rules_of(model, adapt=None):
    return LayerRules.of(model, Parameters(model, adapt))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rule_equals_evaluation_task_by_task(name):
    model = NETWORKS[name]("float64")
    assert rules_of(model) if model.trainable_variables else True
    check(graph, model, inputs_of_tasks())


@pytest.mark.parametrize(
    "name", ["groups", "normalization", "layer normalization of images", "Conv4", "ResNet12"]
)
def test_a_rule_equals_evaluation_task_by_task_in_single_precision(name):
    check(graph, NETWORKS[name]("float32"), inputs_of_tasks("float32"), "float32")


@pytest.mark.parametrize("kind", [NORM, layers.LayerNormalization])
@pytest.mark.parametrize("adapt", ["kernel", "bias", "gamma", "beta", "conv2d"])
def test_weights_that_all_tasks_share(adapt, kind):
    build = stack(CONV, part(kind), part(layers.Flatten), part(layers.Dense, 2))
    model = build("float64")
    model.layers[0].name = "conv2d"
    names = {"conv2d": lambda v: v is model.layers[0].kernel or v is model.layers[0].bias}
    check(graph, model, inputs_of_tasks(), adapt=names.get(adapt, adapt))


@pytest.mark.parametrize(
    "name",
    [
        *("normalization", "only scaled", "normalized features", "Conv4"),
        *("layer normalization", "layer normalization of columns"),
    ],
)
def test_curvature_equals_finite_differences(name):
    check_curvature(NETWORKS[name]("float64"), inputs_of_tasks())


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_layer_without_a_rule_is_left_to_vectorization(name):
    assert rules_of(UNSUPPORTED[name]("float32")) is None


def test_a_subclass_of_a_layer_has_no_rule():
    class Doubled(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs)

    model = keras.Sequential([keras.Input((3,), dtype="float64"), Doubled(2, dtype="float64")])
    assert rules_of(model) is None
    check(graph, model, inputs_of_tasks(shape=(3,)))


def network_of_tasks(name):
    """A network in double precision, with weights and inputs for each task."""
    model = NETWORKS[name]("float64")
    parameters = Parameters(model)
    return TaskNetwork(model, parameters), weights_of_tasks(parameters), inputs_of_tasks()


@pytest.mark.parametrize("name", ["normalization", "normalized features", "only centered"])
def test_statistics_of_the_first_examples(name):
    network, phi, x = network_of_tasks(name)
    by_rule = network(phi, x, True, 2).outputs
    vectorized = network._vectorized(phi, x, True, 2, tf.range(x.shape[0])).outputs
    np.testing.assert_allclose(by_rule, vectorized, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["normalization", "normalized features", "only centered"])
def test_statistics_of_the_examples_that_count(name):
    network, phi, x = network_of_tasks(name)
    counted = np.random.default_rng(4).uniform(size=x.shape[:2]) < 0.5
    counted[:, 1] = True
    counted = tf.constant(counted)
    by_rule = network(phi, x, True, counted=counted).outputs
    numbers = tf.range(x.shape[0])
    vectorized = network._vectorized(phi, x, True, None, numbers, counted).outputs
    np.testing.assert_allclose(by_rule, vectorized, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [ki.layers.TaskBatchNormalization, layers.LayerNormalization])
def test_mixed_precision_computes_as_vectorization_does(norm):
    half = {"dtype": "mixed_bfloat16"}
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(4, 3, **half), norm(**half), layers.Flatten()]
        + [layers.Dense(3)]
    )
    assert rules_of(model)
    parameters = Parameters(model)
    network, phi = TaskNetwork(model, parameters), weights_of_tasks(parameters)
    x = inputs_of_tasks("float32")
    by_rule = network(phi, x, True, None).outputs
    vectorized = network._vectorized(phi, x, True, None, tf.range(x.shape[0])).outputs
    assert by_rule.dtype == vectorized.dtype
    np.testing.assert_allclose(by_rule, vectorized, rtol=0.1, atol=0.1)


def test_several_outputs_keep_their_structure():
    inputs = keras.Input((6, 6, 2), dtype="float64")
    x = layers.Conv2D(3, 3, dtype="float64")(inputs)
    y = layers.Flatten(dtype="float64")(x)
    model = keras.Model(inputs, {"image": x, "flat": [y]})
    assert rules_of(model)
    check(graph, model, inputs_of_tasks())


def test_one_task_and_numbers_that_the_graph_does_not_know():
    model = NETWORKS["Conv4"]("float32")
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32")
    expected = network(phi, x, training=False).outputs
    for count in (1, TASKS):
        traced = tf.function(
            lambda phi, x: network(phi, x, training=False).outputs,
            input_signature=[
                tf.TensorSpec([None, parameters.size]),
                tf.TensorSpec([None, None, 6, 6, 2]),
            ],
            autograph=False,
        )
        outputs = traced(phi[:count], x[:count])
        np.testing.assert_allclose(outputs, expected[:count], rtol=1e-3, atol=1e-3)


def test_half_precision_with_tasks_that_the_graph_does_not_count(monkeypatch):
    """Without grouped convolutions in bfloat16 the network is left to vectorization."""
    monkeypatch.setattr(layer_rules, "supports_groups", lambda dtype: dtype == tf.float32)
    model = ki.models.Conv4(3, (6, 6, 2), 4, dtype="mixed_bfloat16")
    x = inputs_of_tasks("float32")
    unknown = tf.TensorSpec([None, model.count_params()])
    single_task_model, answers = ki.models.Conv4(3, (6, 6, 2), 4), []

    @tf.function(input_signature=[unknown], autograph=False)
    def serve(phi):
        answers.append((rules_of(model).serve(phi, x), rules_of(single_task_model).serve(phi, x)))
        return phi

    serve.get_concrete_function()
    assert answers == [(False, True)]
