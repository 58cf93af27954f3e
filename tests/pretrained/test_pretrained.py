"""Learners that come with the package."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.__main__ import main
from keras_imaml.pretrained.cards import FOLDER

MEGABYTE = 1_000_000


@pytest.mark.parametrize("name", ki.pretrained.NAMES)
def test_a_learner_is_one_small_file_with_a_card(name):
    assert (FOLDER / f"{name}.npz").stat().st_size < MEGABYTE
    card = ki.pretrained.card(name)
    assert card.keys() == {
        *("title", "inputs", "data", "network", "limits", "license", "recipe", "accuracy")
    }
    assert all(card.values())
    assert all(any(sign.isdigit() for sign in text) for text in card["accuracy"].values())


def test_the_files_are_those_of_the_names():
    assert {path.stem for path in FOLDER.iterdir()} == set(ki.pretrained.NAMES)


def test_they_are_listed(capsys):
    main(["--learners"])
    printed = capsys.readouterr().out
    for name in ki.pretrained.NAMES:
        card = ki.pretrained.card(name)
        assert name in printed and card["license"] in printed and card["data"] in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("emniglot",), "Invalid value for `name`"),
        (("sinusoid", 5), "Expected None: sine waves have no classes"),
        (("omniglot", 1), "Invalid value for `classes`"),
    ],
)
def test_wrong_names_and_classes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ki.load(*arguments)


@pytest.mark.slow
def test_glyphs_are_classified_after_one_example_of_each_class():
    classes = 3
    learner = ki.load("glyphs", classes)
    tasks = ki.data.glyphs("test", way=classes, shot=1, query=10, seed=1)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    outputs = learner.adapt_and_predict(support_x, support_y, query_x)
    assert np.mean(np.argmax(outputs, axis=-1) == query_y) > 0.9
    assert np.allclose(tf.nn.softmax(learner.model(query_x)), 1 / classes)  # before adaptation


@pytest.mark.slow
def test_a_sine_wave_is_learned_from_ten_points():
    (support_x, support_y), (query_x, query_y) = next(iter(ki.data.sinusoid("test", seed=1)))
    learner = ki.load("sinusoid")
    before = np.mean(np.square(learner.model(query_x) - query_y))
    after = np.mean(np.square(learner.adapt_and_predict(support_x, support_y, query_x) - query_y))
    assert after < 0.1 < before


def test_two_loads_share_nothing():
    first, second = ki.load("sinusoid"), ki.load("sinusoid")
    first.model.trainable_variables[0].assign_add(tf.ones_like(first.model.trainable_variables[0]))
    assert not np.allclose(*(x.model.get_weights()[0] for x in (first, second)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mini_imagenet", "sinusoid"])
def test_a_learner_adapts_trains_and_is_exported(name, tmp_path):
    learner = ki.load(name, **({} if name == "sinusoid" else {"classes": 2}))
    shape = learner.model.input_shape[1:]
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2, 4, *shape)).astype("float32")
    y = rng.normal(size=(2, 4, 1)) if name == "sinusoid" else np.tile([0, 1, 0, 1], (2, 1))
    y = y.astype("float32" if name == "sinusoid" else "int32")
    model = learner.adapt(x[0], y[0])
    assert type(model) is keras.Model or type(model).__module__.startswith("keras.")
    history = learner.fit(tf.data.Dataset.from_tensors(((x, y), (x, y))), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    learner.export(str(tmp_path / "served"), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path / "served"))
    result = served_model.adapt_and_predict(x[0], y[0], x[0])
    expected = learner.adapt_and_predict(x[0], y[0], x[0])
    key = "predictions" if name == "sinusoid" else "logits"
    assert np.allclose(result[key], expected, atol=1e-4)


@pytest.mark.slow
def test_omniglot_keeps_the_accuracy_of_its_card(published_data):
    tasks = ki.data.omniglot(
        "test", way=5, shot=1, query=5, image_size=32, data_dir=published_data, seed=3
    )
    evaluation = ki.evaluate(ki.load("omniglot"), tasks.batch(4), 100, verbose=0)
    assert evaluation.accuracy > 0.98
