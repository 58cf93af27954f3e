import math

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data import sinusoid


def waves(count=300, **settings):
    return list(sinusoid(**settings).take(count).as_numpy_iterator())


def test_shapes_are_static():
    spec = sinusoid(shot=5, query=7).batch(25, drop_remainder=True).element_spec
    assert [s.shape.as_list() for s in tf.nest.flatten(spec)] == [[25, 5, 1]] * 2 + [[25, 7, 1]] * 2
    assert {s.dtype for s in tf.nest.flatten(spec)} == {tf.float32}


def test_support_and_query_are_one_wave():
    for (support_x, support_y), (query_x, query_y) in waves(50):
        # y = a sin x + b cos x: two unknowns, found from the support, predict the query.
        def basis(x):
            return np.concatenate([np.sin(x), np.cos(x)], axis=1)

        solution, *_ = np.linalg.lstsq(basis(support_x), support_y, rcond=None)
        np.testing.assert_allclose(basis(query_x) @ solution, query_y, atol=1e-4)
        assert 0.1 - 1e-4 <= np.linalg.norm(solution) <= 5 + 1e-4
        assert -1e-3 <= math.atan2(-solution[1, 0], solution[0, 0]) <= math.pi + 1e-3
        assert not np.intersect1d(support_x, query_x).size


def test_ranges_are_followed_and_filled():
    x = np.concatenate([query[0] for _, query in waves(x_range=(2.0, 3.0))])
    assert 2 <= x.min() < 2.01 and 2.99 < x.max() <= 3
    peaks = [abs(query[1]).max() for _, query in waves(query=200, amplitude=(1.0, 2.0))]
    assert 0.99 < min(peaks) < 1.05 and 1.95 < max(peaks) < 2.0001


def test_a_range_may_be_one_value():
    for _, (x, y) in waves(5, amplitude=(2, 2), phase=(0, 0)):
        np.testing.assert_allclose(y, 2 * np.sin(x), rtol=1e-5, atol=1e-6)


def test_seed_and_split_fix_the_waves():
    first = waves(3, seed=1)[2][0][0]
    assert np.array_equal(first, waves(3, seed=1)[2][0][0])
    assert not np.array_equal(first, waves(3, seed=2)[2][0][0])
    assert not np.array_equal(first, waves(3, seed=1, split="test")[2][0][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "val"}, r"`split`\. Expected one of"),
        ({"shot": 0}, r"`shot`\. Expected an integer of at least 1"),
        ({"query": -1}, r"`query`\. Expected an integer of at least 1"),
        ({"amplitude": (5, 0.1)}, r"`amplitude`\. Expected a pair.*\(5, 0\.1\)"),
        ({"phase": (0, math.nan)}, r"`phase`\. Expected a pair"),
        ({"x_range": 5.0}, r"`x_range`\. Expected a pair.*x_range=5\.0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sinusoid(**change)


def test_start_passes_over_episodes():
    all_episodes = list(sinusoid(seed=4).take(5))
    episodes = list(sinusoid(seed=4, start=3).take(2))
    for expected, received in zip(all_episodes[3:], episodes, strict=True):
        np.testing.assert_array_equal(received[0][0], expected[0][0])
        np.testing.assert_array_equal(received[1][1], expected[1][1])
