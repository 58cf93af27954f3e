"""The residual network of twelve convolutions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests.batched import check, graph, inputs_of_tasks


def tiny(dtype="float64", **settings):
    settings.setdefault("activation", "softplus")  # finite differences need two derivatives
    return ki.models.ResNet12(2, (4, 4, 1), filters=(2, 3), dtype=dtype, **settings)


@pytest.mark.slow
def test_the_networks_of_the_literature():
    """12 convolutions of 3 x 3, and as many weights as by hand."""
    for filters in ((64, 160, 320, 640), (64, 128, 256, 512)):
        model = ki.models.ResNet12(5, filters=filters)
        expected, before = 0, 3
        for n in filters:
            expected += 9 * before * n + 2 * 9 * n * n + before * n + 4 * 2 * n
            before = n
        expected += before * 5 + 5
        assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == expected
        kernels = [v for v in model.trainable_variables if tuple(v.shape[:2]) == (3, 3)]
        assert len(kernels) == 12
    assert ki.models.ResNet12(5).get_layer("stage_1_activation_1").negative_slope == 0.1


@pytest.mark.parametrize("downsample", ["max", "average"])
def test_it_gives_one_logit_a_class(downsample):
    model = ki.models.ResNet12(7, (20, 16, 3), filters=(2, 3, 4, 5), downsample=downsample)
    assert model(tf.zeros([2, 20, 16, 3])).shape == (2, 7)
    assert model.get_layer("stage_4_pool").output.shape == (None, 1, 1, 5)


def test_it_comes_back_from_its_configuration():
    model = ki.models.ResNet12(3, (8, 8, 1), filters=(2, 3), tied_head=True)
    restored_model = keras.Model.from_config(model.get_config())
    restored_model.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(restored_model(x), model(x), rtol=1e-5)
    assert isinstance(restored_model.get_layer("head"), ki.layers.TiedDense)


def test_in_mixed_precision_the_head_keeps_the_precision_of_the_weights():
    model = ki.models.ResNet12(5, (16, 16, 3), (2, 3), dtype="mixed_bfloat16")
    assert model.get_layer("features").output.dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_all_tasks_together_equal_one_after_the_other():
    model = ki.models.ResNet12(2, (6, 6, 2), filters=(2, 3), dtype="float64")
    check(graph, model, inputs_of_tasks("float64"), "float64")


@pytest.mark.slow
def test_the_meta_gradient_is_that_of_finite_differences():
    """Through the inner steps, for a direction in all weights together."""
    keras.utils.set_random_seed(0)
    model = tiny(downsample="average")
    learner = ki.MetaLearner(model, ki.MAML(ki.inner.GradientDescent(2, 0.1)))
    learner.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
    )
    rng = np.random.default_rng(1)
    labels = tf.constant([[0, 1, 0, 1]] * 2)
    data = tuple((tf.constant(rng.normal(size=(2, 4, 4, 4, 1))), labels) for _ in range(2))
    variables = learner.trainable_variables

    @tf.function(autograph=False)
    def meta():
        result = learner.algorithm.meta_gradient(learner.objective(data, True), variables)
        # Keras adds up losses in float32, which is too rough for differences.
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, result.query_outputs)
        return result.gradients, tf.reduce_mean(losses)

    gradients, _ = meta()
    directions = [rng.normal(size=v.shape) for v in variables]
    slope = sum(float(tf.reduce_sum(g * d)) for g, d in zip(gradients, directions, strict=True))
    values = []
    for sign in (1, -2):
        for variable, direction in zip(variables, directions, strict=True):
            variable.assign_add(sign * 1e-6 * direction)
        values.append(float(meta()[1]))
    np.testing.assert_allclose(slope, (values[0] - values[1]) / 2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"classes": 0}, "classes"),
        ({"filters": ()}, "filters"),
        ({"filters": (3, 0)}, "filters"),
        ({"downsample": "stride"}, "downsample"),
        ({"input_shape": (15, 16, 3)}, "input_shape"),
        ({"input_shape": (84, 84)}, "input_shape"),
    ],
)
def test_settings_are_checked(arguments, name):
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        ki.models.ResNet12(**{"classes": 5, **arguments})
