"""Sine waves that only the place of the support points tells apart."""

import numpy as np
import pytest

import keras_imaml as ki


def episodes(count, **settings):
    dataset = ki.data.unlabelled_sinusoid(**settings)
    return next(dataset.batch(count).as_numpy_iterator())


def test_the_support_inputs_determine_the_wave_without_labels():
    (support_x, support_y), (query_x, query_y) = episodes(200, shot=3, query=7)
    assert support_y == ()
    assert support_x.shape == (200, 3, 1) and query_x.shape == query_y.shape == (200, 7, 1)
    left = np.all(support_x < 0, axis=(1, 2))
    right = np.all(support_x > 0, axis=(1, 2))
    assert np.all(left ^ right)
    assert 60 < left.sum() < 140
    assert np.all((np.abs(support_x) >= np.pi / 4) & (np.abs(support_x) <= np.pi / 2))
    sign = np.where(left, -1, 1)[:, None, None]
    np.testing.assert_allclose(query_y, sign * np.sin(query_x), atol=1e-5)
    assert np.abs(query_x).max() > 5


@pytest.mark.slow
def test_nothing_is_better_than_zero_without_adaptation():
    _, (_, query_y) = episodes(2000, query=20)
    assert np.mean(query_y**2) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_splits_and_seeds_are_unrelated_and_repeatable():
    first = episodes(4, split="train", seed=1)[1][0]
    np.testing.assert_array_equal(first, episodes(4, split="train", seed=1)[1][0])
    assert np.any(first != episodes(4, split="test", seed=1)[1][0])
    assert np.any(first != episodes(4, split="train", seed=2)[1][0])
    resumed_x = episodes(3, split="train", seed=1, start=1)[1][0]
    np.testing.assert_array_equal(first[1:], resumed_x)


@pytest.mark.parametrize("settings", [{"shot": 0}, {"query": 0}, {"split": "all"}, {"seed": -1}])
def test_refuses_what_is_not_valid(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        ki.data.unlabelled_sinusoid(**settings)
