"""Features that go from one network to another."""

import keras
import numpy as np
import pytest

import keras_imaml as ki


def test_all_but_the_head_is_copied():
    source = ki.models.Conv4(7, (16, 16, 1), filters=4)
    target = ki.models.Conv4(3, (16, 16, 1), filters=4, tied_head=True)
    head = target.get_layer("head").get_weights()
    names = ki.copy_features(source, target)
    assert names == [f"{kind}_{i}" for i in (1, 2, 3, 4) for kind in ("conv", "norm")]
    images = np.random.default_rng(0).random((4, 16, 16, 1), dtype="float32")
    features = [
        type(model)(model.input, model.get_layer("features").output)(images)
        for model in (source, target)
    ]
    np.testing.assert_array_equal(*features)
    for old, new in zip(head, target.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_normalization_that_only_centers_needs_no_twin():
    source = ki.models.Conv4(7, (16, 16, 1), filters=4, cosine=True)
    target = ki.models.Conv4(3, (16, 16, 1), filters=4, cosine=True, centered=True)
    assert len(ki.copy_features(source, target)) == 8
    assert len(ki.copy_features(target, source)) == 8


def test_a_fixed_mean_is_copied():
    def network():
        inputs = keras.Input([3])
        layer = ki.layers.TaskBatchNormalization(
            fixed=True, divide=False, center=False, scale=False, name="mean"
        )
        return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))

    source, target = network(), network()
    source.get_layer("mean").moving_mean.assign([1.0, 2.0, 3.0])
    assert ki.copy_features(source, target) == ["mean"]
    np.testing.assert_array_equal(target.get_layer("mean").moving_mean, [1.0, 2.0, 3.0])


def test_a_network_for_images_of_another_size_has_the_same_features():
    source = ki.models.Conv4(7, (32, 32, 3), filters=4, downsample="max")
    target = ki.models.Conv4(3, (16, 16, 3), filters=4, downsample="max")
    assert len(ki.copy_features(source, target)) == 8


@pytest.mark.parametrize(
    ("build_source", "reason"),
    [
        (lambda: ki.models.Conv4(3, (16, 16, 1), filters=8), r"'conv_1'.*shapes.*4\).*8\)"),
        (lambda: ki.models.MLP(3, (4,)), "'conv_1'.*the layers"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_and_nothing_changed(build_source, reason):
    target = ki.models.Conv4(3, (16, 16, 1), filters=4)
    before = target.get_weights()
    with pytest.raises(ValueError, match=f"Invalid value for `source`.*{reason}"):
        ki.copy_features(build_source(), target)
    for old, new in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
