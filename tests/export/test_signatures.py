"""Signatures of exported learners: of all kinds of labels, and with the arguments of Keras."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.export.saved_model import _targets
from keras_imaml.export.serving import _columns

RNG = np.random.default_rng(0)


def cross_entropy(**settings):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **settings)


def learner_of(network, loss):
    learner = ki.MetaLearner(network, ki.MAML(ki.inner.GradientDescent(1)))
    learner.compile("sgd", loss)
    return learner


def two(kind):
    inputs = keras.Input((3,))
    z, b = keras.layers.Dense(2, name="z")(inputs), keras.layers.Dense(1, name="b")(inputs)
    return keras.Model(inputs, [z, b] if kind == "list" else {"z": z, "b": b})


def chain(*layers):
    return keras.Sequential(layers)


CONV = keras.layers.Conv2D
LABELS = {  # by kind: the network, its loss, and the shapes of its labels
    "classes": (chain(keras.Input((3,)), keras.layers.Dense(2)), cross_entropy(), (None,)),
    "tokens": (chain(keras.Input((4, 2)), keras.layers.Dense(3)), cross_entropy(), (None, 4)),
    "any tokens": (
        chain(keras.Input((None, 2)), keras.layers.Dense(3)),
        cross_entropy(),
        (None, None),
    ),
    "pixels": (chain(keras.Input((4, 5, 1)), CONV(3, 1)), cross_entropy(), (None, 4, 5)),
    "channels first": (
        chain(keras.Input((4, 5, 1)), CONV(3, 1), keras.layers.Permute((3, 1, 2))),
        cross_entropy(axis=1),
        (None, 4, 5),
    ),
    "masks": (chain(keras.Input((4, 4, 1)), CONV(1, 1)), "binary_crossentropy", (None, 4, 4, 1)),
    "lists": (two("list"), [cross_entropy(), "mse"], [(None,), (None, 1)]),
    "dict of losses": (
        two("list"),
        {"b": "mse", "z": cross_entropy()},
        {"z": (None,), "b": (None, 1)},
    ),
    "dicts": (two("dict"), {"z": cross_entropy(), "b": "mse"}, {"z": (None,), "b": (None, 1)}),
    "one of a list": (two("list"), [None, "mse"], (None, 1)),
    "one of a dict": (two("dict"), {"z": cross_entropy()}, {"z": (None,)}),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_have_the_shapes_that_training_takes(name):
    network, loss, shapes = LABELS[name]
    specs = _targets(learner_of(network, loss))
    assert tf.nest.map_structure(lambda spec: tuple(spec.shape), specs) == shapes
    # Requests to a server name the tensors likewise.
    assert {n for n, _ in _columns("support_y", specs)} == {s.name for s in tf.nest.flatten(specs)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["list", pytest.param("dict", marks=pytest.mark.slow)])
def test_labels_by_name_come_in_any_order(tmp_path, kind):
    learner = learner_of(two(kind), {"b": "mse", "z": cross_entropy()})
    learner.export(str(tmp_path / "served"), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path / "served"))
    x = RNG.normal(size=(4, 3)).astype("float32")
    z, b = tf.constant([0, 1, 1, 0]), RNG.normal(size=(4, 1)).astype("float32")
    first, second = (
        served_model.adapt_and_predict(x, labels, x)
        for labels in ({"b": b, "z": z}, {"z": z, "b": b})
    )
    outputs = learner.adapt_and_predict(x, {"b": b, "z": z}, x)
    flat = dict(zip(["z", "b"], outputs, strict=True)) if kind == "list" else outputs
    np.testing.assert_allclose(first["z_logits"], flat["z"], rtol=1e-5)
    np.testing.assert_allclose(second["b_predictions"], flat["b"], rtol=1e-5)


@pytest.mark.slow
def test_the_arguments_are_those_of_keras(tmp_path):
    for method in ("export", "summary"):
        names_of_keras = list(inspect.signature(getattr(keras.Model, method)).parameters)
        parameters = inspect.signature(getattr(ki.MetaLearner, method)).parameters
        names = [name for name in parameters if name != "kwargs"]
        assert names == names_of_keras[: len(names)]
    learner = learner_of(LABELS["any tokens"][0], cross_entropy())
    with pytest.raises(ValueError, match="Expected 'tf_saved_model'.*adapt.*format='onnx'"):
        learner.export(str(tmp_path / "served"), format="onnx")
    signature = [keras.InputSpec(shape=(None, 7, 2), dtype="float32")]
    learner.export(str(tmp_path / "served"), "tf_saved_model", False, signature)
    served_model = tf.saved_model.load(str(tmp_path / "served"))
    spec = served_model.signatures["predict"].structured_input_signature[1]
    assert [part.shape.as_list() for part in spec.values()] == [[None, 7, 2]]
    with pytest.raises(ValueError, match="Invalid filepath extension"):
        learner.save(tmp_path / "without_ending")


def test_a_summary_may_list_the_layers_too():
    printed = []
    learner = learner_of(LABELS["classes"][0], cross_entropy())
    learner.summary(print_fn=printed.append)
    short = len(printed)
    learner.summary(80, print_fn=printed.append, expand_nested=True, show_trainable=True)
    assert len(printed) > 2 * short
    with pytest.raises(TypeError, match="unexpected keyword"):
        learner.summary(hello=1)
