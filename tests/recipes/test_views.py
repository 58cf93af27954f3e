"""Networks that see an image in several views."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners
from tests.batched import check, graph, inputs_of_tasks

RNG = np.random.default_rng(0)


@pytest.fixture(params=learners.QUICK_AND_SLOW)
def network(request):
    return learners.NETWORKS[request.param]


def images(model, examples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(examples, *model.input_shape[1:])).astype(model.input.dtype)


def features_of(model, name):
    return keras.Model(model.input, model.get_layer(name).output)


def mean_of_views(model):
    """What the head sees."""
    average, _ = model.layers[-2:]
    assert isinstance(average, keras.layers.Average)
    return keras.Model(model.input, average.output)


def learner_of(model, **settings):
    learner = ki.MetaLearner(model, ki.IMAML(linear=ki.linear.Dual()), adapt="head", **settings)
    learner.compile(optimizer="adam", loss=learners.cross_entropy())
    return learner


@pytest.mark.parametrize("views", [ki.views_of_photographs, ki.views_of_drawings])
@pytest.mark.parametrize("cosine", [True, False])
def test_the_head_sees_the_mean_of_the_features(network, views, cosine):
    model = network(cosine=cosine, dtype="float64")
    model_of_views = ki.seen_in_views(model, views())
    x = images(model, 5)
    features = features_of(model, "features")
    expected = np.mean([features(view(x)) for view in views()], axis=0)
    np.testing.assert_allclose(mean_of_views(model_of_views)(x), expected, rtol=1e-6)
    logits = expected @ model.get_layer("head").kernel
    if not cosine:
        logits += model.get_layer("head").bias
    np.testing.assert_allclose(model_of_views(x), logits, rtol=1e-6)


def test_the_mean_of_the_views_is_what_is_centered(network):
    model = network(cosine=True, centered=True, dtype="float64")
    views, x = ki.views_of_photographs(), images(model, 5)
    model_of_views = ki.seen_in_views(model, views)
    last = model.get_layer("centered")
    before = keras.Model(model.input, last.input)
    flat = np.mean([before(view(x)) for view in views], axis=0)
    expected = flat - flat.mean(0)
    expected *= 10 / np.linalg.norm(expected, axis=1, keepdims=True)
    logits = expected @ model.get_layer("head").kernel
    np.testing.assert_allclose(model_of_views(x), logits, rtol=1e-6)
    assert [id(v) for v in model_of_views.weights] == [id(v) for v in model.weights]


def test_one_view_is_the_model(network):
    model = network()
    x = images(model, 4)
    np.testing.assert_array_equal(ki.seen_in_views(model, [lambda image: image])(x), model(x))


def test_the_weights_are_those_of_the_model_in_its_order(network):
    model = network(tied_head=True)
    model_of_views = ki.seen_in_views(model, ki.views_of_photographs())
    assert [id(v) for v in model_of_views.weights] == [id(v) for v in model.weights]
    copy = type(model_of_views).from_config(model_of_views.get_config())
    assert [v.path for v in copy.weights] == [v.path for v in model.weights]
    assert model_of_views.name == model.name
    assert ki.seen_in_views(model, ki.views_of_drawings(), name="drawn").name == "drawn"


def test_views_may_be_smaller_than_the_images(network):
    model = network(dtype="float64")
    size = model.input_shape[1]
    views = ki.views_of_photographs(size)
    model_of_views = ki.seen_in_views(model, views, image_shape=(20, 24, 1))
    x = RNG.uniform(size=(3, 20, 24, 1))
    features = features_of(model, "features")
    expected = np.mean([features(view(x)) for view in views], axis=0)
    np.testing.assert_allclose(mean_of_views(model_of_views)(x), expected, rtol=1e-6)


@pytest.mark.slow
def test_all_tasks_together_equal_one_after_the_other():
    model = ki.models.ResNet12(2, (6, 6, 2), (2,), dtype="float64")
    check(graph, ki.seen_in_views(model, ki.views_of_photographs()), inputs_of_tasks())


@pytest.mark.parametrize("transductive", [True, False])
def test_a_learner_sees_the_features_too(network, transductive):
    """Those of a trunk, whose calls of one layer are kept apart."""
    model_of_views = ki.seen_in_views(network(tied_head=True), ki.views_of_photographs())
    learner = learner_of(model_of_views, transductive=transductive)
    x = images(model_of_views, 12).reshape(2, 6, *model_of_views.input_shape[1:])
    features = learner._objectives.trunk(x, training=False)[0]
    mean_features = mean_of_views(model_of_views)
    expected = np.stack([mean_features(task) for task in x])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_training_changes_the_shared_weights():
    model = learners.small(tied_head=True)
    learner = learner_of(ki.seen_in_views(model, ki.views_of_photographs()))
    x, y = images(model, 3)[None], np.arange(3)[None]
    before = [v.numpy() for v in model.trainable_variables[:2]]
    learner.fit(tf.data.Dataset.from_tensors(((x, y), (x[:, ::-1], y[:, ::-1]))), verbose=0)
    for value, variable in zip(before, model.trainable_variables[:2], strict=True):
        assert not np.array_equal(value, variable)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fixed", "centered"),
    [("residual", False, False), ("plain", True, True)],
    indirect=["network"],
)
def test_an_adapted_model_and_a_saved_learner_see_in_views(network, fixed, centered, tmp_path):
    model = network(tied_head=True, fixed_statistics=fixed, centered=centered)
    model_of_views = ki.seen_in_views(model, ki.views_of_photographs())
    if fixed:
        ki.record_statistics(model_of_views, images(model, 30, seed=2))
    learner = learner_of(model_of_views)
    support, labels = images(model_of_views, 3), np.arange(3)
    query = images(model_of_views, 4, seed=1)
    expected = learner.adapt_and_predict(support, labels, query)
    adapted = learner.adapt(support, labels)
    np.testing.assert_allclose(adapted(query), expected, rtol=1e-3, atol=1e-4)
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.models.load_model(tmp_path / "learner.keras")
    predictions = loaded_learner.adapt_and_predict(support, labels, query)
    np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-5)
    two = ki.with_classes(learner, 2)
    assert two.adapt_and_predict(support[:2], labels[:2], query).shape == (4, 2)
    # And without this package.
    adapted.save(tmp_path / "adapted.keras")
    np.save(tmp_path / "query.npy", query)
    program = (
        "import sys, keras, numpy as np; "
        f"model = keras.models.load_model({str(tmp_path / 'adapted.keras')!r}); "
        f"outputs = model(np.load({str(tmp_path / 'query.npy')!r})); "
        "assert not any(name.startswith('keras_imaml') for name in sys.modules); "
        f"np.save({str(tmp_path / 'outputs.npy')!r}, outputs)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), adapted(query), atol=1e-5)


def test_recorded_statistics_are_those_of_all_views_as_one_batch(network):
    model = network(fixed_statistics=True)
    views, x = ki.views_of_photographs(), images(model, 20)
    ki.record_statistics(ki.seen_in_views(model, views), x)
    weights = model.get_weights()
    ki.record_statistics(model, np.concatenate([view(x) for view in views]))
    for expected, weight in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(expected, weight, rtol=1e-3, atol=1e-5)


def test_statistics_are_recorded_in_half_precision():
    model = ki.models.Conv4(3, (8, 8, 1), 4, fixed_statistics=True, dtype="bfloat16")
    model_of_views = ki.seen_in_views(model, ki.views_of_photographs())
    assert ki.record_statistics(model_of_views, RNG.uniform(size=(6, 8, 8, 1))) == 4


def test_a_view_inside_another_model_is_not_replaced():
    inner = keras.Sequential([keras.Input((8, 8, 1)), ki.layers.View(), keras.layers.Flatten()])
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(inner(inputs)))
    with pytest.raises(ValueError, match="cannot be replaced by stock layers.*Received: View"):
        learner_of(model).adapt(images(model, 3), np.arange(3))


def test_a_model_with_any_number_of_examples_of_any_size():
    inputs = keras.Input((None, None, 1))
    features = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(features))
    model_of_views = ki.seen_in_views(model, ki.views_of_drawings(), image_shape=(8, 8, 1))
    assert model_of_views.output_shape == (None, 2)
    layers = [keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input(batch_shape=(4, 8, 8, 1)), *layers])
    model_of_views = ki.seen_in_views(model, ki.views_of_drawings())
    assert model_of_views.output_shape == (4, 2)
    mirrored_model = ki.seen_in_views(
        model_of_views, [ki.layers.View(), ki.layers.View(mirrored=True)]
    )
    x = images(mirrored_model, 4)
    np.testing.assert_allclose(
        mirrored_model(x), (model_of_views(x) + model_of_views(x[:, :, ::-1])) / 2, atol=1e-5
    )


def test_models_and_views_that_do_not_fit_are_refused(network):
    model = network()
    for views in ([], ["mirrored"], ki.views_of_drawings, ki.layers.View()):
        with pytest.raises(ValueError, match="Invalid value for `views`. Expected a list"):
            ki.seen_in_views(model, views)
    with pytest.raises(ValueError, match=r"Received: a view \(None, 5, 5, 1\)"):
        ki.seen_in_views(model, ki.views_of_drawings(5))
    nested = keras.Model(model.input, model(keras.layers.Rescaling(0.5)(model.input)))
    inputs, second = keras.Input([4]), keras.Input([2])
    hidden = keras.layers.Dense(3)(inputs)
    head = keras.layers.Dense(3)
    for wrong_model in (
        nested,
        keras.Sequential([keras.layers.ReLU()]),
        keras.Model(inputs, hidden),
        keras.Model(inputs, keras.layers.Dense(4)(hidden) + inputs),
        keras.Model(inputs, [head(hidden), hidden + 1.0]),
        keras.Model([inputs, second], head(hidden) + keras.layers.Dense(3)(second)),
    ):
        with pytest.raises(ValueError, match="Invalid value for `model`. Expected a functional"):
            ki.seen_in_views(wrong_model, [lambda x: x])
