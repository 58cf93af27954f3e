"""Normalization by the same statistics for every task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners
from tests.batched import check, graph, inputs_of_tasks

RNG = np.random.default_rng(0)
LOSS = learners.cross_entropy()


@pytest.fixture(params=learners.QUICK_AND_SLOW)
def network(request):
    return learners.NETWORKS[request.param]


def images(model, examples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, (examples, *model.input_shape[1:])).astype("float32")


def recorded(network, **settings):
    model = network(fixed_statistics=True, **settings)
    count = ki.record_statistics(model, images(model, 50))
    return model, count


def test_the_statistics_are_those_of_the_batch(network):
    model, count = recorded(network)
    layers = [x for x in model.layers if isinstance(x, ki.layers.TaskBatchNormalization)]
    assert count == len(layers) > 0
    copy = network()
    copy.set_weights(model.get_weights())
    x = images(model, 50)
    # By the examples at hand, and by what was recorded of the same examples.
    np.testing.assert_allclose(model(x), copy(x), rtol=1e-3, atol=1e-4)
    assert not np.allclose(model(x[:5]), copy(x[:5]), atol=0.01)


def test_a_layer_that_only_centers_holds_the_mean_of_all_its_calls():
    layer = ki.layers.TaskBatchNormalization(fixed=True, divide=False, dtype="float64")
    inputs = keras.Input([3], dtype="float64")
    outputs = keras.layers.Concatenate(dtype="float64")([layer(inputs), layer(2 * inputs + 1)])
    model = keras.Model(inputs, outputs)
    x = RNG.normal(1.0, 2.0, (20, 3))
    ki.record_statistics(model, x)
    mean = np.concatenate([x, 2 * x + 1]).mean(0)
    expected = np.concatenate([x - mean, 2 * x + 1 - mean], axis=1)
    np.testing.assert_allclose(model(x), expected, rtol=1e-6, atol=1e-6)


def test_no_prediction_depends_on_the_other_examples(network):
    model, _ = recorded(network)
    x = images(model, 6, seed=1)
    np.testing.assert_allclose(model(x)[:2], model(x[:2]), rtol=1e-4, atol=1e-5)


def test_they_equal_a_stock_layer_at_inference():
    layer = ki.layers.TaskBatchNormalization(fixed=True, dtype="float64")
    stock = keras.layers.BatchNormalization(dtype="float64")
    x = RNG.normal(size=(5, 4, 4, 3))
    layer.build(x.shape)
    stock.build(x.shape)
    values = [RNG.uniform(0.5, 2.0, 3) for _ in range(4)]
    layer.set_weights(values)
    stock.set_weights(values)
    np.testing.assert_allclose(layer(x, training=True), stock(x, training=False), rtol=1e-6)


def test_recording_changes_no_weights_and_ends(network):
    model, _ = recorded(network)
    before, first_weights = [v.numpy() for v in model.trainable_variables], model.get_weights()
    ki.record_statistics(model, images(model, 30, seed=3))
    for expected, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(expected, variable)
    recorded_weights = model.get_weights()
    assert not all(
        np.array_equal(a, b) for a, b in zip(first_weights, recorded_weights, strict=True)
    )
    model(images(model, 5, seed=2))
    for expected, variable in zip(recorded_weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, variable)


def test_all_tasks_together_equal_one_after_the_other():
    model = ki.models.ResNet12(2, (6, 6, 2), (2, 3), fixed_statistics=True, dtype="float64")
    x = inputs_of_tasks()
    ki.record_statistics(model, tf.reshape(x, [-1, *x.shape[2:]]))
    check(graph, model, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "adapt"), [("plain", None), ("residual", "head")], indirect=["network"]
)
def test_it_makes_no_difference_whether_a_learner_is_transductive(network, adapt):
    model, _ = recorded(network)
    results = []
    for transductive in (True, False):
        algorithm = ki.IMAML(inner=ki.inner.GradientDescent(3, 0.05))
        learner = ki.MetaLearner(model, algorithm, adapt=adapt, transductive=transductive)
        learner.compile(optimizer="adam", loss=LOSS)
        x, y = images(model, 3, seed=4), np.arange(3)
        results.append(learner.adapt_and_predict(x, y, images(model, 7, seed=5)))
    np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "adapt"), [("plain", None), ("residual", "head")], indirect=["network"]
)
def test_training_goes_through_and_leaves_them(network, adapt):
    model, _ = recorded(network)
    statistics = [v.numpy() for v in model.non_trainable_variables]
    learner = ki.MetaLearner(model, ki.IMAML(), adapt=adapt)
    learner.compile(optimizer="adam", loss=LOSS)
    x, y = images(model, 3)[None], np.arange(3)[None]
    before = model.trainable_variables[0].numpy()
    learner.fit(tf.data.Dataset.from_tensors(((x, y), (x, y))), verbose=0)
    assert not np.array_equal(before, model.trainable_variables[0])
    for expected, variable in zip(statistics, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(expected, variable)


@pytest.mark.slow
def test_an_adapted_model_and_a_saved_learner_keep_them(network, tmp_path):
    model, _ = recorded(network)
    learner = ki.MetaLearner(model, ki.IMAML(), adapt="head")
    learner.compile(optimizer="adam", loss=LOSS)
    support, labels, query = images(model, 3), np.arange(3), images(model, 4, seed=1)
    expected = learner.adapt_and_predict(support, labels, query)
    np.testing.assert_allclose(
        learner.adapt(support, labels)(query), expected, rtol=1e-3, atol=1e-4
    )
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.models.load_model(tmp_path / "learner.keras")
    predictions = loaded_learner.adapt_and_predict(support, labels, query)
    np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_such_layers_is_refused(network):
    with pytest.raises(ValueError, match="Invalid value for `model`.*fixed_statistics=True"):
        ki.record_statistics(network(), np.zeros((2, 8, 8, 1)))


def test_a_layer_that_is_used_twice_holds_the_statistics_of_both_uses():
    inputs = keras.Input([3], dtype="float64")
    layer = ki.layers.TaskBatchNormalization(fixed=True, dtype="float64")
    uses = [layer(change(inputs)) for change in (lambda x: x, lambda x: 3 * x + 1, lambda x: x**2)]
    model = keras.Model(inputs, uses)
    x = RNG.normal(size=(6, 3))
    ki.record_statistics(model, x)
    inputs_of_calls = np.concatenate([x, 3 * x + 1, x**2])
    np.testing.assert_allclose(layer.moving_mean, inputs_of_calls.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(layer.moving_variance, inputs_of_calls.var(axis=0), rtol=1e-9)
    assert layer.recorded is None
