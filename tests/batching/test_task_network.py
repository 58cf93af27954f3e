"""One network under the weights of many tasks equals the network task by task."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml._compat import grouped_convolution
from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests.batched import (
    EXAMPLES,
    TASKS,
    check,
    graph,
    inputs_of_tasks,
    weights_of_tasks,
)


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
class Subclassed(keras.Model):
    """Layers in attributes, and a Python `call`."""

    def __init__(self, **settings):
        super().__init__()
        self.convolution = layers.Conv2D(3, 3, **settings)
        self.blocks = [layers.Dense(3, activation="tanh", **settings) for _ in range(2)]

    def call(self, inputs, training=None):
        x = self.convolution(inputs)
        for block in self.blocks:
            x = x + block(x)
        return keras.ops.mean(x, axis=(1, 2))


def image(dtype):
    return keras.Input((6, 6, 2), dtype=dtype)


def sequential(d):
    return keras.Sequential(
        [image(d), layers.Conv2D(3, 3, dtype=d), layers.Flatten(dtype=d), layers.Dense(2, dtype=d)]
    )


def functional(d):
    inputs = image(d)
    x = layers.Conv2D(3, 3, padding="same", activation="relu", dtype=d)(inputs)
    y = layers.Conv2D(3, 1, dtype=d)(inputs)
    x = layers.GlobalAveragePooling2D(dtype=d)(layers.Add(dtype=d)([x, y]))
    return keras.Model(inputs, layers.Dense(2, dtype=d)(x))


def subclassed(d):
    model = Subclassed(dtype=d)
    model(tf.zeros([1, 6, 6, 2], d))
    return model


def nested(d):
    inputs = image(d)
    return keras.Model(
        inputs, layers.Dense(2, dtype=d)(sequential(d)(functional_features(d)(inputs)))
    )


def functional_features(d):
    inputs = image(d)
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", dtype=d)(inputs))


def shared_layers(d):
    inputs = image(d)
    convolution = layers.Conv2D(2, 3, padding="same", activation="tanh", dtype=d)
    return keras.Model(inputs, layers.Flatten(dtype=d)(convolution(convolution(inputs))))


def frozen(d):
    model = sequential(d)
    model.layers[0].trainable = False
    return model


def frozen_batch_normalization(d):
    model = keras.Sequential(
        [
            image(d),
            layers.BatchNormalization(trainable=False, dtype=d),
            layers.Conv2D(2, 3, dtype=d),
            layers.Flatten(dtype=d),
        ]
    )
    model.layers[0].moving_mean.assign([0.3, -0.2])
    model.layers[0].moving_variance.assign([2.0, 0.5])
    return model


def normalized(d):
    return keras.Sequential(
        [
            image(d),
            layers.Conv2D(4, 3, dtype=d),
            ki.layers.TaskBatchNormalization(dtype=d),
            layers.Conv2D(4, 3, dtype=d),
            layers.LayerNormalization(dtype=d),
            layers.GroupNormalization(2, dtype=d),
            layers.Flatten(dtype=d),
        ]
    )


MODELS = [
    sequential,
    functional,
    subclassed,
    nested,
    shared_layers,
    frozen,
    frozen_batch_normalization,
    normalized,
]


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("build", MODELS)
def test_models_equal_task_by_task_evaluation(build, dtype):
    check(graph, build(dtype), inputs_of_tasks(dtype), dtype)


@pytest.mark.parametrize("build", [functional, normalized])
def test_models_equal_task_by_task_evaluation_eagerly(build):
    check(lambda f, *a: f(*a), build("float64"), inputs_of_tasks())


CONVOLUTIONS = [
    {"strides": 2},
    {"strides": 2, "padding": "same"},
    {"dilation_rate": 2},
    {"dilation_rate": 2, "padding": "same"},
    {"groups": 2},
    {"groups": 2, "strides": 2, "padding": "same"},
    {"kernel_size": 1},
    {"kernel_size": 6},
    {"kernel_size": (2, 3), "strides": (1, 2), "padding": "same"},
    {"use_bias": False},
    {"filters": 1},
]


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_convolutions_equal_task_by_task_evaluation(settings, dtype):
    settings = {"filters": 4, "kernel_size": 3, "dtype": dtype, **settings}
    model = keras.Sequential([image(dtype), layers.Conv2D(**settings)])
    check(graph, model, inputs_of_tasks(dtype), dtype)


@pytest.mark.parametrize("adapt", ["head", "kernel"])
def test_shared_weights_stay_the_same_for_all_tasks(adapt):
    inputs = image("float64")
    x = layers.Conv2D(3, 3, activation="relu", dtype="float64")(inputs)
    outputs = layers.Dense(2, name="head", dtype="float64")(layers.Flatten(dtype="float64")(x))
    check(graph, keras.Model(inputs, outputs), inputs_of_tasks(), adapt=adapt)


def test_dictionaries_of_inputs_and_outputs(run):
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    x = layers.Concatenate()([layers.Dense(4)(left), layers.Dense(2)(right)])
    model = keras.Model(
        {"left": left, "right": right}, {"a": layers.Dense(2)(x), "b": layers.Dense(1)(x)}
    )
    x = {
        "left": inputs_of_tasks("float32", (3,)),
        "right": inputs_of_tasks("float32", (2,), seed=2),
    }
    check(run, model, x, dtype="float32")


def test_lists_of_inputs_and_outputs():
    left, right = keras.Input((3,)), keras.Input((2,))
    x = layers.Concatenate()([layers.Dense(4)(left), layers.Dense(2)(right)])
    model = keras.Model([left, right], [layers.Dense(2)(x), layers.Dense(1)(x)])
    x = [inputs_of_tasks("float32", (3,)), inputs_of_tasks("float32", (2,), seed=2)]
    check(graph, model, x, dtype="float32")


def test_dropout_drops_in_training_only(run):
    model = keras.Sequential([keras.Input((50,)), layers.Dense(40), layers.Dropout(0.5)])
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32", (50,))
    trained = run(lambda phi, x: network(phi, x, training=True).outputs, phi, x)
    assert 0.3 < np.mean(trained.numpy() == 0) < 0.7
    check(run, model, x, dtype="float32", training=False)


def test_one_evaluation_after_the_other_has_the_same_dropout():
    """The inner problem is one function: what is dropped must not change between its steps."""
    model = keras.Sequential([keras.Input((50,)), layers.Dense(40), layers.Dropout(0.5)])
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32", (50,))
    first, second = (network(phi, x, training=True).outputs.numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore:.*one task after the other")
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_unknown_numbers_of_examples_and_tasks(dtype):
    model = normalized(dtype)
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks(dtype)
    expected = network(phi, x, training=False).outputs
    for tasks, examples in ((TASKS, None), (None, EXAMPLES), (None, None)):
        traced = tf.function(
            lambda phi, x: network(phi, x, training=False).outputs,
            input_signature=[
                tf.TensorSpec([tasks, parameters.size], dtype),
                tf.TensorSpec([tasks, examples, 6, 6, 2], dtype),
            ],
            autograph=False,
        )
        np.testing.assert_allclose(traced(phi, x), expected, rtol=1e-4, atol=1e-4)


def test_without_the_registry_of_tensorflow_the_outputs_are_the_same(monkeypatch):
    monkeypatch.setattr(grouped_convolution._replaced, "_stock", None)
    model = keras.Sequential([image("float32"), layers.Conv2D(3, 3, activation="softmax")])
    with pytest.warns(UserWarning, match="'conv2d' is evaluated one task after the other"):
        check(graph, model, inputs_of_tasks("float32"), "float32")


def test_the_model_keeps_its_weights():
    model = sequential("float32")
    before = [v.numpy() for v in model.variables]
    parameters = Parameters(model)
    TaskNetwork(model, parameters)(
        weights_of_tasks(parameters), inputs_of_tasks("float32"), training=True
    )
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_regularizers_are_penalties_at_the_weights_of_the_task(run):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5)),
            layers.Dense(2, bias_regularizer="l1"),
        ]
    )
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    phi, x = weights_of_tasks(parameters), inputs_of_tasks("float32", (3,))
    penalty = run(lambda phi, x: network(phi, x, training=True).penalty, phi, x)
    kernel, _, _, bias = parameters.unravel(phi)
    expected = 0.5 * np.sum(kernel.numpy() ** 2, (1, 2)) + 0.01 * np.abs(bias.numpy()).sum(1)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_without_regularizers_the_penalty_is_zero():
    model = sequential("float64")
    parameters = Parameters(model)
    evaluation = TaskNetwork(model, parameters)(
        weights_of_tasks(parameters), inputs_of_tasks(), training=True
    )
    assert evaluation.penalty.numpy().tolist() == [0.0] * TASKS
    assert evaluation.penalty.dtype == tf.float64


def test_a_failing_call_restores_everything():
    model = sequential("float32")
    parameters = Parameters(model)
    network = TaskNetwork(model, parameters)
    moments = tf.nn.moments
    with pytest.raises(ValueError, match="incompatible"):
        network(weights_of_tasks(parameters), tf.zeros([TASKS, 2, 5, 5, 7]), training=True)
    assert tf.nn.moments is moments
    assert grouped_convolution._registry["Conv2D"] is grouped_convolution._stock["Conv2D"]


def test_task_loss_is_taken_task_by_task(run):
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, TASKS, EXAMPLES, 2))
    loss = TaskLoss(lambda y, z: tf.reduce_mean((y - z) ** 2), "float64")
    expected = np.mean((y - z) ** 2, axis=(1, 2))
    np.testing.assert_allclose(run(loss, tf.constant(y), tf.constant(z)), expected, rtol=1e-12)


def test_task_loss_has_the_dtype_of_the_weights():
    loss = TaskLoss(lambda y, z: tf.reduce_mean(tf.cast(y - z, tf.float32) ** 2), "float64")
    assert loss(tf.ones([2, 3]), tf.zeros([2, 3])).dtype == tf.float64


class AddsLoss(layers.Layer):
    """Passes its inputs on, with the penalty of a regularizer of its kernel by `add_loss`."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")

    def call(self, x):
        self.add_loss(0.3 * keras.ops.sum(keras.ops.square(self.kernel)))
        return keras.ops.tanh(x @ self.kernel)


@pytest.mark.slow
def test_losses_that_layers_add_count_as_those_of_regularizers():
    """They are there only once the layer has run, and belong to both levels as well."""
    rng = np.random.default_rng(0)
    x, query_x = rng.normal(size=(2, 2, 6, 4)).astype("float32")
    y, query_y = rng.integers(3, size=(2, 2, 6)).astype("int32")
    kernel = rng.normal(size=(4, 5)).astype("float32")
    updates = []
    for hidden in (
        AddsLoss(),
        layers.Dense(5, "tanh", use_bias=False, kernel_regularizer=keras.regularizers.L2(0.3)),
    ):
        head = layers.Dense(3, kernel_initializer="ones", name="head")
        model = keras.Sequential([keras.Input((4,)), hidden, head])
        hidden.kernel.assign(kernel)
        learner = ki.MetaLearner(model, ki.IMAML(1.0, ki.inner.NewtonCG(steps=6)))
        learner.compile(
            optimizer=keras.optimizers.SGD(1.0),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            outer_penalties=True,
        )
        logs = learner.train_on_batch((x, y), (query_x, query_y), return_dict=True)
        updates.append([logs["loss"], *(kernel - hidden.kernel.numpy()).ravel()])
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-3, atol=1e-5)


def test_losses_that_were_not_foreseen_are_refused():
    def penalize(layer, x):
        layer.add_loss(keras.ops.sum(x))
        return x

    class Hidden(layers.Layer):
        def call(self, x):
            return penalize(self, x)

    model = keras.Sequential([keras.Input((4,)), Hidden(), layers.Dense(3)])
    network = TaskNetwork(model, Parameters(model))
    with pytest.raises(ValueError, match="adds losses.*add_loss.*Received"):
        network(network.parameters.theta()[None], tf.ones([1, 2, 4]), training=True)
