"""Networks that see an image in several views."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners
from tests.batched import check, graph, inputs_of_tasks

RNG = np.random.default_rng(0)


@pytest.fixture(params=learners.NETWORKS)
def network(request):
    return learners.NETWORKS[request.param]


def images(model, examples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(examples, *model.input_shape[1:])).astype(model.input.dtype)


def features_of(model, name):
    return keras.Model(model.input, model.get_layer(name).output)


def learner_of(model, **settings):
    made = ki.MetaLearner(model, ki.IMAML(linear=ki.linear.Dual()), adapt="head", **settings)
    made.compile(optimizer="adam", loss=learners.cross_entropy())
    return made


@pytest.mark.parametrize("views", [ki.views_of_photographs, ki.views_of_drawings])
@pytest.mark.parametrize("cosine", [True, False])
def test_the_head_sees_the_mean_of_the_features(network, views, cosine):
    model = network(cosine=cosine, dtype="float64")
    both = ki.seen_in_views(model, views())
    x = images(model, 5)
    one = features_of(model, "features")
    expected = np.mean([one(view(x)) for view in views()], axis=0)
    np.testing.assert_allclose(features_of(both, "mean_of_views")(x), expected, rtol=1e-6)
    logits = expected @ model.get_layer("head").kernel
    if not cosine:
        logits += model.get_layer("head").bias
    np.testing.assert_allclose(both(x), logits, rtol=1e-6)


def test_one_view_is_the_model(network):
    model = network()
    x = images(model, 4)
    np.testing.assert_array_equal(ki.seen_in_views(model, [lambda image: image])(x), model(x))


def test_the_weights_are_those_of_the_model_in_its_order(network):
    model = network(tied_head=True)
    both = ki.seen_in_views(model, ki.views_of_photographs())
    assert [id(v) for v in both.weights] == [id(v) for v in model.weights]
    copy = type(both).from_config(both.get_config())
    assert [v.path for v in copy.weights] == [v.path for v in model.weights]
    assert both.name == model.name
    assert ki.seen_in_views(model, ki.views_of_drawings(), name="drawn").name == "drawn"


def test_views_may_be_smaller_than_the_images(network):
    model = network(dtype="float64")
    size = model.input_shape[1]
    views = ki.views_of_photographs(size)
    both = ki.seen_in_views(model, views, image_shape=(20, 24, 1))
    x = RNG.uniform(size=(3, 20, 24, 1))
    one = features_of(model, "features")
    expected = np.mean([one(view(x)) for view in views], axis=0)
    np.testing.assert_allclose(features_of(both, "mean_of_views")(x), expected, rtol=1e-6)


def test_all_tasks_together_equal_one_after_the_other():
    model = ki.models.ResNet12(2, (6, 6, 2), (2, 3), dtype="float64")
    check(graph, ki.seen_in_views(model, ki.views_of_photographs()), inputs_of_tasks())


@pytest.mark.parametrize("transductive", [True, False])
def test_a_learner_sees_the_features_too(network, transductive):
    """Those of a trunk, whose calls of one layer are kept apart."""
    both = ki.seen_in_views(network(tied_head=True), ki.views_of_photographs())
    learner = learner_of(both, transductive=transductive)
    x = images(both, 12).reshape(2, 6, *both.input_shape[1:])
    found = learner._trunk(x, training=False)[0]
    one = features_of(both, "mean_of_views")
    expected = np.stack([one(task) for task in x])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_training_changes_the_shared_weights(network):
    model = network(tied_head=True)
    learner = learner_of(ki.seen_in_views(model, ki.views_of_photographs()))
    x, y = images(model, 3)[None], np.arange(3)[None]
    before = [v.numpy() for v in model.trainable_variables[:2]]
    learner.fit(tf.data.Dataset.from_tensors(((x, y), (x[:, ::-1], y[:, ::-1]))), verbose=0)
    for value, variable in zip(before, model.trainable_variables[:2], strict=True):
        assert not np.array_equal(value, variable)


def test_an_adapted_model_and_a_saved_learner_see_in_views(network, tmp_path):
    model = network(tied_head=True, fixed_statistics=True)
    both = ki.seen_in_views(model, ki.views_of_photographs())
    ki.record_statistics(both, images(model, 30, seed=2))
    learner = learner_of(both)
    support, labels, query = images(model, 3), np.arange(3), images(model, 4, seed=1)
    expected = learner.adapt_and_predict(support, labels, query)
    found = learner.adapt(support, labels)(query)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    learner.save(tmp_path / "learner.keras")
    again = keras.models.load_model(tmp_path / "learner.keras")
    found = again.adapt_and_predict(support, labels, query)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    two = ki.with_classes(learner, 2)
    assert two.adapt_and_predict(support[:2], labels[:2], query).shape == (4, 2)


def test_statistics_of_the_task_differ_by_view_so_that_no_stock_layer_holds_them(network):
    both = ki.seen_in_views(network(tied_head=True), ki.views_of_photographs())
    learner = learner_of(both)
    with pytest.raises(ValueError, match="used more than once.*`fixed=True`.*Received: 4 calls"):
        learner.adapt(images(both, 3), np.arange(3))


def test_models_and_views_that_do_not_fit_are_refused(network):
    model = network()
    with pytest.raises(ValueError, match=r"`views`. Expected at least one. Received: views=\[\]"):
        ki.seen_in_views(model, [])
    with pytest.raises(ValueError, match=r"Received: a view \(None, 5, 5, 1\)"):
        ki.seen_in_views(model, ki.views_of_drawings(5))
    inputs = keras.Input([4])
    hidden = keras.layers.Dense(3)(inputs)
    two_ways = keras.Model(inputs, keras.layers.Dense(3)(hidden) + hidden)
    for wrong in (
        keras.Model(inputs, hidden),
        keras.Sequential([keras.layers.ReLU()]),
        keras.Model([inputs, keras.Input([2])], hidden),
    ):
        with pytest.raises(ValueError, match="Invalid value for `model`. Expected a functional"):
            ki.seen_in_views(wrong, [lambda x: x])
    # What passes by the head is averaged with what it sees.
    np.testing.assert_allclose(
        ki.seen_in_views(two_ways, [lambda x: x, lambda x: -x])(np.ones((1, 4))),
        two_ways(np.zeros((1, 4))),
        atol=1e-6,
    )
