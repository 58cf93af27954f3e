"""A trunk evaluated in stages is the trunk evaluated as one network."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching import TaskNetwork
from keras_imaml.batching.trunk import split
from keras_imaml.batching.trunk_network import TrunkNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests import learners


def _normalization(dtype):
    return ki.layers.TaskBatchNormalization(dtype=dtype)


def convolutions(dtype):
    return learners.small(shape=(16, 16, 1), dtype=dtype, blocks=2)


def resnet(dtype):
    return ki.models.ResNet12(3, (16, 16, 1), filters=(4,), dtype=dtype)


def normalized_inputs(dtype):
    """A normalization first, a branch that skips the second one, and two features."""
    images = keras.Input((16, 16, 1), dtype=dtype)
    x = _normalization(dtype)(images)
    x = layers.Conv2D(4, 3, strides=4, dtype=dtype)(x)
    y = _normalization(dtype)(x)
    joined_inputs = layers.Concatenate(dtype=dtype)(
        [layers.Flatten(dtype=dtype)(z) for z in (x, y)]
    )
    head = layers.Dense(3, dtype=dtype, name="head")
    return keras.Model(
        images, layers.Add(dtype=dtype)([head(joined_inputs), head(joined_inputs * 2)])
    )


def nested(dtype):
    """A normalization inside a layer that is a model."""
    nested_model = keras.Sequential(
        [layers.Conv2D(4, 3, strides=4, dtype=dtype), _normalization(dtype)]
    )
    stages = [keras.Input((16, 16, 1), dtype=dtype), nested_model, layers.Flatten(dtype=dtype)]
    return keras.Sequential([*stages, layers.Dense(3, dtype=dtype, name="head")])


def dropout(dtype):
    """Layers that ask whether this is training; nothing to normalize."""
    stages = [keras.Input((16, 16, 1), dtype=dtype), layers.Flatten(dtype=dtype)]
    stages += [layers.Dense(8, dtype=dtype), layers.Dropout(0.5, dtype=dtype)]
    return keras.Sequential([*stages, layers.Dense(3, dtype=dtype, name="head")])


class Shifted(ki.layers.TaskBatchNormalization):
    """A subclass that computes something else."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs) + 1


def subclassed(dtype):
    stages = [keras.Input((16, 16, 1), dtype=dtype), Shifted(dtype=dtype)]
    stages += [layers.Flatten(dtype=dtype), layers.Dense(3, dtype=dtype, name="head")]
    return keras.Sequential(stages)


def masked(dtype):
    """A mask that is made before a normalization, and used after it."""
    images = keras.Input((16, 16, 1), dtype=dtype)
    rows = layers.Reshape((16, 16), dtype=dtype)(images)
    rows = layers.Activation("relu", dtype=dtype)(rows - 1)  # rows of zeros
    steps = layers.Masking(dtype=dtype)(rows)
    query = layers.GlobalAveragePooling1D(dtype=dtype)(steps)
    query = layers.Reshape((1, 16), dtype=dtype)(_normalization(dtype)(query))
    attention = layers.Attention(dtype=dtype)([query, steps])
    return keras.Model(images, layers.Dense(3, dtype=dtype, name="head")(attention))


MODELS = [subclassed, masked, convolutions, resnet, normalized_inputs, nested, dropout]


def networks(build, dtype):
    """The trunk in stages and as one network, and its weights."""
    keras.utils.set_random_seed(0)
    model = build(dtype)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * keras.random.normal(variable.shape, dtype=dtype))
    parameters = Parameters(model, "head")
    trunk = split(model, parameters).trunk
    weights = [v for v in trunk.trainable_variables if "head" not in v.path]
    return TrunkNetwork(trunk, parameters), TaskNetwork(trunk, parameters), weights


def examples(dtype, tasks=3):
    return tf.constant(np.random.default_rng(0).normal(size=(tasks, 6, 16, 16, 1)), dtype)


def with_gradients(evaluate, weights):
    with tf.GradientTape() as tape:
        features = tf.nest.flatten(evaluate())
        value = tf.add_n([tf.reduce_sum(tf.sin(3 * z)) for z in features])
    return [*features, *tape.gradient(value, weights)]


WAYS = [  # dtype, as a graph or eagerly, examples that give the statistics
    ("float64", True, 4),
    pytest.param("float64", True, None, marks=pytest.mark.slow),
    pytest.param("float32", False, 4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("dtype", "graph", "rows"), WAYS)
@pytest.mark.parametrize("build", MODELS)
def test_features_and_gradients_equal_those_of_the_trunk(build, dtype, graph, rows):
    trunk, task_network, weights = networks(build, dtype)
    x = examples(dtype)
    wrap = tf.function if graph else lambda f: f
    result = wrap(lambda: with_gradients(lambda: trunk(x, False, rows), weights))()
    expected = with_gradients(lambda: task_network(None, x, False, rows).outputs, weights)
    # Of all, not of each: biases before a normalization have gradients of zero, but for rounding.
    largest = max(float(tf.reduce_max(tf.abs(b))) for b in expected)
    scale = {"float32": 1e-4, "float64": 1e-9}[dtype]
    assert len(result) == len(expected)
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * scale, atol=scale * largest)


def operations(build, dtype, tasks=3, rows=None):
    trunk, _, weights = networks(build, dtype)
    step = tf.function(
        lambda x: with_gradients(lambda: trunk(x, True, rows), weights), autograph=False
    )
    graph = step.get_concrete_function(examples(dtype, tasks)).graph
    return [operation.type for operation in graph.get_operations()]


@pytest.mark.slow
def test_the_fused_kernel_runs_where_it_can():
    assert operations(convolutions, "float32").count("FusedBatchNormV3") == 3 * 2
    assert operations(convolutions, "float32", tasks=64).count("FusedBatchNormV3") == 0
    assert operations(convolutions, "float64").count("FusedBatchNormV3") == 0
    assert operations(convolutions, "float32", rows=4).count("FusedBatchNormV3") == 0
    assert operations(nested, "float32").count("FusedBatchNormV3") == 0


def test_one_task_is_not_copied():
    """A slice out of the task axis would have a gradient that writes all activations once more."""
    kinds = operations(convolutions, "float32", tasks=1)
    assert "StridedSliceGrad" not in kinds


def test_the_number_of_examples_may_be_unknown():
    trunk, task_network, _ = networks(convolutions, "float32")
    specification = tf.TensorSpec([3, None, 16, 16, 1])
    step = tf.function(lambda x: trunk(x, True), input_signature=[specification], autograph=False)
    (features,) = step(examples("float32"))
    expected = task_network(None, examples("float32"), True).outputs
    np.testing.assert_allclose(features, tf.nest.flatten(expected)[0], rtol=1e-3, atol=1e-4)
    types = {operation.type for operation in step.get_concrete_function().graph.get_operations()}
    assert "FusedBatchNormV3" in types


def test_eager_calls_are_one_graph(caplog):
    trunk, _, _ = networks(resnet, "float32")
    trunk(examples("float32"), True)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


def test_layers_know_whether_this_is_training():
    trunk, _, _ = networks(dropout, "float32")
    x = examples("float32")
    (features,), (training_features,) = trunk(x, False), trunk(x, True)
    assert not np.any(features == 0)
    assert 0.2 < np.mean(training_features == 0) < 0.8


def test_inputs_get_the_ranks_and_types_of_the_model():
    left, right = keras.Input((3,), name="left"), keras.Input((1,), name="right")
    x = layers.Add()([layers.Dense(3)(left), right])
    model = keras.Model({"left": left, "right": right}, layers.Dense(2, name="head")(x))
    parameters = Parameters(model, "head")
    trunk = TrunkNetwork(split(model, parameters).trunk, parameters)
    given = {"right": tf.ones([2, 5], tf.int32), "left": tf.ones([2, 5, 3], tf.float64)}
    (features,) = trunk(given, True)
    assert features.shape == (2, 5, 3)
    assert features.dtype == tf.float32


def test_a_broken_task_leaves_other_tasks_unchanged():
    trunk, _, _ = networks(convolutions, "float32")
    x = examples("float32")
    broken = tf.concat([x[:1] * np.nan, x[1:]], 0)
    (features,), (broken_features,) = trunk(x, True), trunk(broken, True)
    np.testing.assert_array_equal(broken_features[1:], features[1:])
