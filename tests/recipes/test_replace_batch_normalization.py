"""Pretrained networks keep what they compute when their normalization is replaced."""

import keras
import numpy as np
import pytest

import keras_imaml as ki

RNG = np.random.default_rng(0)


def trained(model):
    """As if it had been trained: other statistics, scales and offsets than at the start."""
    for weight in model.weights:
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(RNG.uniform(0.5, 2.0, weight.shape))
        elif weight.path.endswith(("moving_mean", "beta")):
            weight.assign(RNG.normal(size=weight.shape, scale=0.1))
    return model


def nested():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm", epsilon=0.01)(x)
    features = keras.Model(inputs, keras.layers.ReLU()(x), name="features")
    inputs = keras.Input((6, 6, 2))
    scaled = keras.layers.Normalization(mean=0.5, variance=2.0)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(features(scaled))
    x = keras.layers.BatchNormalization(scale=False)(x)
    return trained(keras.Model(inputs, keras.layers.Dense(3, name="head")(x)))


def test_the_copy_computes_what_the_network_infers():
    network = nested()
    x = RNG.normal(size=(5, 6, 6, 2)).astype("float32")
    copy = ki.replace_batch_normalization(network)
    np.testing.assert_allclose(copy(x), network(x, training=False), rtol=1e-5, atol=1e-6)
    assert [w.shape for w in copy.weights] == [w.shape for w in network.weights]
    assert not {id(w) for w in copy.weights} & {id(w) for w in network.weights}
    norms = [x for x in copy._flatten_layers() if isinstance(x, ki.layers.TaskBatchNormalization)]
    assert len(norms) == 2
    assert all(layer.fixed for layer in norms)
    learner = ki.MetaLearner(copy, ki.MAML())
    assert any(w.path.endswith("norm/gamma") for w in learner.parameters.adapted)


def test_what_cannot_be_replaced_is_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="Expected a built Sequential or functional"):
        ki.replace_batch_normalization(Own())
    inner = keras.layers.BatchNormalization()
    wrapped = keras.Sequential([keras.Input((4, 2)), keras.layers.TimeDistributed(inner)])
    with pytest.raises(ValueError, match="within other layers"):
        ki.replace_batch_normalization(wrapped)


APPLICATIONS = {
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {"include_preprocessing": False},
    "MobileNet": {"alpha": 0.25},
    "ResNet50V2": {},
}


def features_of(name):
    """A network of Keras, its copy with other layers, and images."""
    settings = {"weights": None, "include_top": False, "pooling": "avg", **APPLICATIONS[name]}
    build = getattr(keras.applications, name)
    features = trained(build(input_shape=(32, 32, 3), **settings))
    x = RNG.uniform(size=(2, 5, 32, 32, 3)).astype("float32")
    return features, ki.replace_batch_normalization(features), x


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "ResNet50V2"])
def test_copies_of_networks_of_keras_compute_what_these_infer(name):
    features, copy, x = features_of(name)
    expected = features(x[0], training=False)
    np.testing.assert_allclose(copy(x[0]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "adapt"), [("MobileNetV2", "head"), ("MobileNet", None)])
def test_networks_of_keras_change_their_outputs_only_slightly(name, adapt):
    features, copy, x = features_of(name)
    y = np.tile(np.arange(5), (2, 1))
    expected = features(x[0], training=False)
    np.testing.assert_allclose(copy(x[0]), expected, rtol=1e-4, atol=1e-5)
    network = keras.Sequential([copy, keras.layers.Dense(5, name="head")])
    network.build((None, 32, 32, 3))
    algorithm = ki.MAML(ki.inner.GradientDescent(1, 1e-3), first_order=True)
    learner = ki.MetaLearner(network, algorithm, adapt=adapt)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(1e-4), loss)
    before = np.abs(network(x[1])).max()
    logs = learner.train_on_batch((x, y), (x[:, ::-1], y[:, ::-1]), return_dict=True)
    assert logs["bad_tasks"] == 0
    logits = learner.adapt_and_predict(x[0], y[0], x[1])
    assert np.abs(logits).max() < 10 * max(1.0, before)
