"""The head of a network of images, and networks whose head sees directions alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.models.head import head
from tests import learners
from tests.batched import check, check_curvature, graph, inputs_of_tasks

RNG = np.random.default_rng(0)


@pytest.fixture(params=learners.QUICK_AND_SLOW)
def network(request):
    return learners.NETWORKS[request.param]


def test_features_have_one_length_and_both_signs(network):
    model = network(cosine=True, dtype="float64")
    features = keras.Model(model.input, model.get_layer("features").output)
    values = features(RNG.normal(size=(5, *model.input_shape[1:]))).numpy()
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 10 * np.ones(5), rtol=1e-6)
    assert np.min(values) < 0 < np.max(values)


@pytest.mark.parametrize("cosine", [True, False])
def test_centered_features_are_told_from_their_mean(network, cosine):
    model = network(cosine=cosine, centered=True, dtype="float64")
    plain = network(cosine=False, dtype="float64")
    x = RNG.normal(size=(5, *model.input_shape[1:]))
    features = keras.Model(model.input, model.get_layer("features").output)
    if cosine:
        name = next(layer.name for layer in model.layers if layer.name in ("flat", "mean"))
        flat = keras.Model(model.input, model.get_layer(name).output)(x).numpy()
    else:
        ki.copy_features(plain, model)
        flat = keras.Model(plain.input, plain.get_layer("features").output)(x).numpy()
    expected = flat - flat.mean(0)
    if cosine:
        expected *= 10 / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features(x), expected, rtol=1e-6, atol=1e-9)


def test_the_length_does_not_count():
    inputs = keras.Input([6], dtype="float64")
    model = keras.Model(inputs, head(inputs, 3, tied=False, cosine=True, dtype="float64"))
    x = RNG.normal(size=(4, 6))
    np.testing.assert_allclose(model(7 * x), model(x), rtol=1e-6)
    np.testing.assert_array_equal(model(0 * x), np.zeros((4, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "run_eagerly"), [("plain", False), ("residual", True)], indirect=["network"]
)
def test_a_classifier_compares_by_the_cosine(network, run_eagerly):
    """After a step of the outer level."""
    model = network(cosine=True, dtype="float64")
    learner = ki.MetaLearner(model, ki.algorithms.Supervised(), adapt="head", transductive=True)
    learner.compile(optimizer="adam", loss=learners.cross_entropy(), run_eagerly=run_eagerly)
    x, y = RNG.normal(size=(1, 3, *model.input_shape[1:])), np.arange(3)[None]
    learner.fit(tf.data.Dataset.from_tensors(((x, y), (x, y))), verbose=0)
    kernel = model.get_layer("head").kernel.numpy()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), np.ones(3), rtol=1e-6)
    features = keras.Model(model.input, model.get_layer("features").output)(x[0]).numpy()
    cosines = features @ kernel / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(model(x[0]), 10 * cosines, rtol=1e-6)


def test_in_mixed_precision_they_are_computed_in_the_precision_of_the_weights(network):
    model = network(cosine=True, dtype="mixed_bfloat16")
    assert model.get_layer("features").output.dtype == "float32"
    features = keras.Model(model.input, model.get_layer("features").output)
    values = features(RNG.normal(size=(5, *model.input_shape[1:])).astype("float32"))
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 10 * np.ones(5), rtol=1e-5)


def test_all_tasks_together_equal_one_after_the_other():
    model = ki.models.ResNet12(2, (6, 6, 2), (2, 3), cosine=True, dtype="float64")
    check(graph, model, inputs_of_tasks())


def test_products_with_the_hessian_are_those_of_differences():
    inputs = keras.Input([6, 6, 2], dtype="float64")
    flat = keras.layers.Flatten(dtype="float64")(
        keras.layers.Conv2D(2, 3, activation="softplus", dtype="float64")(inputs)
    )
    outputs = head(flat, 2, tied=False, cosine=True, dtype="float64")
    check_curvature(keras.Model(inputs, outputs), inputs_of_tasks())


@pytest.mark.parametrize("centered", [True, False])
def test_the_adapted_model_is_plain_keras(network, centered):
    model = network(cosine=True, centered=centered, dtype="float64")
    learner = ki.MetaLearner(model, ki.IMAML(), adapt="head")
    learner.compile(optimizer="adam", loss=learners.cross_entropy())
    shape = learner.model.input_shape[1:]
    support, labels = RNG.normal(size=(3, *shape)), np.arange(3)
    adapted = learner.adapt(support, labels)
    assert {type(layer).__module__.split(".")[0] for layer in adapted.layers} == {"keras"}
    # Normalized by the support set, which is what the model has taken down.
    expected = learner.adapt_and_predict(support, labels, tf.constant(support))
    np.testing.assert_allclose(adapted(support), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fixed"), [("plain", False), ("residual", True)], indirect=["network"]
)
def test_a_centered_query_set_is_seen_as_one_or_by_the_support_set(network, fixed):
    settings = {"cosine": True, "centered": True, "tied_head": True}
    model = network(fixed_statistics=fixed, dtype="float64", **settings)
    learner = ki.MetaLearner(model, ki.IMAML(), adapt="head", transductive=True)
    learner.compile(optimizer="adam", loss=learners.cross_entropy())
    assert learner.queries_interact
    draw = lambda n: RNG.normal(size=(n, *model.input_shape[1:]))  # noqa: E731
    support, labels, query = draw(3), np.arange(3), draw(6)
    transductive_predictions = learner.adapt_and_predict(support, labels, query)
    features = keras.Model(model.input, model.get_layer("features").output)
    phi = learner.adapt(support, labels).get_layer("head")
    np.testing.assert_allclose(transductive_predictions, phi(features(query)), rtol=1e-6, atol=1e-8)
    learner.transductive = False
    first_prediction = learner.adapt_and_predict(support, labels, query[:1])
    inductive_predictions = learner.adapt_and_predict(support, labels, query)
    np.testing.assert_allclose(first_prediction, inductive_predictions[:1], rtol=1e-6, atol=1e-8)
    assert not np.allclose(inductive_predictions, transductive_predictions, atol=1e-3)


def test_a_tied_head_and_the_layers_before_are_those_of_a_network_without(network):
    cosine_network, plain_network = network(cosine=True, tied_head=True), network(tied_head=True)
    assert ki.copy_features(plain_network, cosine_network)
    for cosine_weight, plain_weight in zip(
        cosine_network.weights, plain_network.weights, strict=True
    ):
        assert cosine_weight.shape == plain_weight.shape
