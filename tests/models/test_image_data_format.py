"""Models, layers and data sets of the package have channels last, whatever the setting says."""

import keras
import numpy as np
import pytest

import keras_imaml as ki
from tests.batched import check, graph, inputs_of_tasks

layers = keras.layers


def with_setting(name, function):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(name)
    try:
        return function()
    finally:
        keras.config.set_image_data_format(before)


SHAPE = (16, 18, 3)
BUILDERS = {
    "conv4": lambda: ki.models.Conv4(4, SHAPE, 2),
    "conv4, average": lambda: ki.models.Conv4(4, SHAPE, 2, "average", cosine=True),
    "conv4, max": lambda: ki.models.Conv4(4, SHAPE, 2, "max", centered=True, tied_head=True),
    "resnet12": lambda: ki.models.ResNet12(4, SHAPE, (2,), "max"),
    "resnet12, average": lambda: ki.models.ResNet12(4, SHAPE, (2,), "average", cosine=True),
    "mlp": lambda: ki.models.MLP(4, SHAPE, hidden=(2,)),
    "views": lambda: ki.seen_in_views(
        ki.models.MLP(4, (8, 8, 3), hidden=(2,)), ki.views_of_photographs(8), SHAPE
    ),
    "view": lambda: keras.Sequential([keras.Input(SHAPE), ki.layers.View(True, 1.2, size=8)]),
    "task normalization": lambda: keras.Sequential(
        [keras.Input(SHAPE), ki.layers.TaskBatchNormalization()]
    ),
    "tied": lambda: keras.Sequential([keras.Input(SHAPE), ki.layers.TiedDense(2)]),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_models_and_layers_are_the_same_with_either_setting(name):
    x = np.random.default_rng(0).uniform(size=(3, *SHAPE)).astype("float32")

    def model_and_outputs():
        keras.utils.set_random_seed(0)
        model = BUILDERS[name]()
        return model, np.asarray(model(x))

    last_model, expected = with_setting("channels_last", model_and_outputs)
    first_model, outputs = with_setting("channels_first", model_and_outputs)
    assert [v.shape for v in first_model.weights] == [v.shape for v in last_model.weights]
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.slow
def test_data_sets_are_the_same_with_either_setting():
    def image(numbers):
        x = numbers.uniform(size=(2, 4, 6, 3)).astype("float32")
        return (x, np.arange(2)), (x, np.arange(2))

    def draw():
        (x, _), _ = next(iter(ki.data.distorted(ki.data.from_function(image, seed=0), seed=0)))
        return x.numpy()

    np.testing.assert_array_equal(
        with_setting("channels_first", draw), with_setting("channels_last", draw)
    )


# TensorFlow has no `Conv2D` for channels first on processors; stock Keras fails there, too.
FIRST = {
    "pooling": [(layers.MaxPooling2D, 2)],
    "average pooling": [(layers.AveragePooling2D, 2)],
    "global pooling": [(layers.GlobalAveragePooling2D,)],
    "global maximum": [(layers.GlobalMaxPooling2D,)],
    "task normalization": [(ki.layers.TaskBatchNormalization, 1)],
    "frozen normalization": [(layers.BatchNormalization, 1)],
    "layer normalization": [(layers.LayerNormalization, 1)],
    "permuted": [(layers.Permute, (2, 3, 1)), (layers.Dense, 3)],
    "separable convolution": [(layers.SeparableConv2D, 2, 2)],
    "depthwise convolution": [(layers.DepthwiseConv2D, 2)],
    "padding": [(layers.ZeroPadding2D, 1), (layers.UpSampling2D, 2)],
}


def branches():
    """All of `FIRST` behind a layer that adapts, as the outputs of one network."""
    inputs = keras.Input((2, 4, 3), dtype="float64")
    x = layers.Dense(5, activation="tanh", dtype="float64")(inputs)
    outputs = []
    for name, parts in FIRST.items():
        z = x
        for kind, *arguments in parts:
            layer = kind(*arguments, dtype="float64")
            layer.trainable = name != "frozen normalization"
            z = layer(z)
        z = layers.Flatten(dtype="float64")(z)
        outputs.append(layers.Dense(1, dtype="float64")(z))
    return keras.Model(inputs, outputs)


@pytest.mark.slow
def test_networks_with_channels_first_equal_task_by_task_evaluation():
    model = with_setting("channels_first", branches)
    formats = {getattr(layer, "data_format", "channels_first") for layer in model.layers}
    assert formats == {"channels_first"}
    check(graph, model, inputs_of_tasks("float64", (2, 4, 3)))


def test_a_trunk_with_channels_first_equals_the_network():
    """Layers before a head that adapts: normalization and pooling of rows, not of channels."""

    def build_model():
        return keras.Sequential(
            [
                keras.Input((3, 4, 4)),
                layers.DepthwiseConv2D(2),
                ki.layers.TaskBatchNormalization(axis=1),
                layers.ReLU(),
                layers.AveragePooling2D(2),
                layers.Flatten(),
                layers.Dense(2, name="head"),
            ]
        )

    model = with_setting("channels_first", build_model)
    learner = ki.MetaLearner(model, ki.MAML(), "head")
    assert learner._objectives.trunk is not None
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4, 4)).astype("float32")
    features = keras.Model(model.inputs, model.layers[-2].output)
    trunk_features = learner._objectives.trunk(x, training=False)[0]
    for task in range(2):
        np.testing.assert_allclose(trunk_features[task], features(x[task]), rtol=1e-5, atol=1e-5)
