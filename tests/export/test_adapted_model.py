"""A model for one task: plain Keras, with the predictions of the learner."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from tests import learners


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
class Subclassed(keras.Model):
    """A network written in Python, with its own configuration."""

    def __init__(self, units=3, **settings):
        super().__init__(**settings)
        self.units = units
        self.convolution = layers.Conv2D(2, 3)
        self.norm = ki.layers.TaskBatchNormalization()
        self.head = layers.Dense(units)

    def call(self, inputs, training=None):
        x = self.norm(self.convolution(inputs), training=training)
        return self.head(keras.ops.mean(keras.ops.relu(x), axis=(1, 2)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def functional():
    return learners.small(filters=2)


def sequential():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3),
            ki.layers.TaskBatchNormalization(center=False, epsilon=0.1),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3),
        ],
        name="sequential",
    )


def nested():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, sequential()(layers.AveragePooling2D(1)(inputs)))


def subclassed():
    model = Subclassed()
    model(tf.zeros([1, 8, 8, 1]))
    return model


NETWORKS = [functional, sequential, nested, subclassed]


def task():
    (support_x, support_y), (query_x, _) = learners.images(tasks=1)
    return support_x[0], support_y[0], query_x[0]


@pytest.mark.parametrize("build", NETWORKS)
def test_it_is_plain_keras_with_the_predictions_of_the_learner(build):
    learner = learners.compiled(build())
    support_x, support_y, query_x = task()
    before = [v.numpy() for v in learner.model.variables]
    model = learner.adapt(support_x, support_y, name="mine")
    assert model.name == "mine"
    modules = {type(x).__module__ for x in [model, *model._flatten_layers()]}
    assert not any(module.startswith("keras_imaml.") for module in modules)
    expected = learner.adapt_and_predict(support_x, support_y, query_x)
    np.testing.assert_allclose(model(query_x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(query_x[:1]), expected[:1], rtol=1e-4, atol=1e-5)
    # The learner is as it was, and what happens to the new model does not reach it.
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    for value, variable in zip(before, learner.model.variables, strict=True):
        np.testing.assert_array_equal(value, variable)
    predictions = learner.adapt_and_predict(support_x, support_y, query_x)
    np.testing.assert_array_equal(predictions, expected)
    assert np.abs(expected - learner.model(query_x)).max() > 1e-4


def load_without_this_package(script, *arguments):
    """Run a script in a process that cannot import keras_imaml."""
    guard = "import sys; sys.modules['keras_imaml'] = None\n"
    result = subprocess.run(
        [sys.executable, "-c", guard + script, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_it_loads_without_this_package(tmp_path):
    support_x, support_y, query_x = task()
    np.save(tmp_path / "x.npy", query_x)
    for build in (functional, sequential, nested):
        model = learners.compiled(build()).adapt(support_x, support_y)
        model.save(tmp_path / f"{build.__name__}.keras")
        np.save(tmp_path / f"{build.__name__}.npy", model(query_x))
    script = """
import pathlib, sys
import keras, numpy as np
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
for name in ("functional", "sequential", "nested"):
    model = keras.saving.load_model(folder / f"{name}.keras")
    np.testing.assert_allclose(model(x), np.load(folder / f"{name}.npy"), rtol=1e-4, atol=1e-5)
"""
    load_without_this_package(script, tmp_path)


SUBCLASS = """
@keras.saving.register_keras_serializable(package="keras_imaml_tests")
class Plain(keras.Model):
    def __init__(self, units=3, **settings):
        super().__init__(**settings)
        self.units = units
        self.body = keras.layers.Conv2D(2, 3, activation="relu")
        self.head = keras.layers.Dense(units)

    def call(self, inputs):
        return self.head(keras.ops.mean(self.body(inputs), axis=(1, 2)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}
"""


@pytest.mark.slow
def test_a_subclassed_network_loads_without_this_package(tmp_path):
    scope = {"keras": keras}
    exec(SUBCLASS, scope)
    network = scope["Plain"]()
    network(tf.zeros([1, 8, 8, 1]))
    support_x, support_y, query_x = task()
    model = learners.compiled(network).adapt(support_x, support_y)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=query_x, z=model(query_x))
    script = f"""
import sys
import keras, numpy as np
{SUBCLASS}
model = keras.saving.load_model(sys.argv[1])
data = np.load(sys.argv[2])
np.testing.assert_allclose(model(data["x"]), data["z"], rtol=1e-4, atol=1e-5)
"""
    load_without_this_package(script, tmp_path / "model.keras", tmp_path / "data.npz")


@pytest.mark.slow
@pytest.mark.parametrize("build", [sequential, subclassed])
def test_it_exports_as_a_saved_model(build, tmp_path):
    support_x, support_y, query_x = task()
    model = learners.compiled(build()).adapt(support_x, support_y)
    model.export(tmp_path / "task", verbose=False)
    served_model = tf.saved_model.load(tmp_path / "task")
    np.testing.assert_allclose(served_model.serve(query_x), model(query_x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_can_be_trained_further():
    support_x, support_y, _ = task()
    model = learners.compiled(sequential()).adapt(support_x, support_y)
    model.compile(optimizer="sgd", loss=learners.cross_entropy())
    history = model.fit(support_x, support_y, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_weights_that_do_not_adapt_are_copied():
    learner = learners.compiled(functional(), adapt="head")
    support_x, support_y, _ = task()
    model = learner.adapt(support_x, support_y)
    for weight, learner_weight in zip(model.trainable_variables, learner.model.trainable_variables):  # noqa: B905
        assert np.array_equal(weight, learner_weight) == ("head" not in weight.path)


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
class WithoutConfig(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.head = layers.Dense(units)

    def call(self, inputs):
        return self.head(keras.ops.mean(inputs, axis=(1, 2)))


def test_a_network_that_cannot_be_copied_is_refused_with_the_remedy():
    model = WithoutConfig(3)
    model(tf.zeros([1, 8, 8, 1]))
    support_x, support_y, _ = task()
    with pytest.raises(ValueError, match="get_config.*Received: WithoutConfig"):
        learners.compiled(model).adapt(support_x, support_y)


def used_twice():
    inputs = keras.Input((8, 8, 1))
    norm = ki.layers.TaskBatchNormalization(center=False, name="twice")
    x = norm(layers.Conv2D(1, 3)(norm(inputs)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.slow
def test_a_normalization_that_is_used_twice_becomes_two_layers():
    """One stock layer cannot hold the statistics of two places."""
    learner = learners.compiled(used_twice())
    support_x, support_y, query_x = task()
    model = learner.adapt(support_x, support_y)
    stock = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    assert [type(x) for x in stock] == 2 * [layers.BatchNormalization]
    expected = learner.adapt_and_predict(support_x, support_y, query_x)
    np.testing.assert_allclose(model(query_x), expected, rtol=1e-4, atol=1e-5)


def test_a_normalization_that_is_used_twice_inside_another_model_is_refused():
    inputs = keras.Input((8, 8, 1))
    support_x, support_y, _ = task()
    with pytest.raises(ValueError, match="twice.*cannot be replaced by stock layers"):
        learners.compiled(keras.Model(inputs, used_twice()(inputs))).adapt(support_x, support_y)


@pytest.mark.slow
def test_it_is_quantized_as_any_model():
    learner = learners.compiled(ki.models.MLP(3, (8,), hidden=(16,)), learners.imaml(), loss="mse")
    x, y, q = (
        np.random.default_rng(0).normal(size=s).astype("f") for s in ((4, 8), (4, 3), (5, 8))
    )
    model = learner.adapt(x, y)
    before = model.predict(q, verbose=0)
    model.quantize("int8")
    np.testing.assert_allclose(
        model.predict(q, verbose=0), before, atol=0.05 * np.abs(before).max()
    )
    assert any(str(v.dtype) == "int8" for v in model.variables)


def with_statistics():
    """Inputs are scaled by statistics that the layer computed from data."""
    scale = layers.Normalization()
    scale.adapt(np.random.default_rng(0).normal(5, 10, (100, 4)).astype("float32"))
    return keras.Sequential([keras.Input((4,)), scale, ki.layers.TiedDense(3, name="head")])


def with_words():
    """Inputs are words, of which a layer keeps a table."""
    words = layers.StringLookup()
    words.adapt(["a", "b", "c"])
    inputs = keras.Input((2,), dtype="string")
    features = layers.Flatten()(layers.Embedding(5, 4)(words(inputs)))
    return keras.Model(inputs, ki.layers.TiedDense(3, name="head")(features))


@pytest.mark.parametrize("build", [with_statistics, with_words])
def test_state_that_layers_learn_outside_of_weights_is_copied(build):
    learner = learners.compiled(build())
    x = np.random.default_rng(1).normal(5, 10, (6, 4)).astype("float32")
    if build is with_words:
        x = np.array([["a", "b"], ["c", "a"], ["b", "b"]] * 2)
    y = np.array([0, 1, 2] * 2, "int32")
    expected = learner.adapt_and_predict(x, y, x)
    model = learner.adapt(x, y)
    np.testing.assert_allclose(model(tf.constant(x)), expected, rtol=1e-4, atol=1e-5)
    three_way_learner = ki.with_classes(learner, 3)
    np.testing.assert_allclose(
        three_way_learner.adapt_and_predict(x, y, x), expected, rtol=1e-4, atol=1e-5
    )
