import numpy as np
import pytest

from keras_imaml.data import from_arrays


def arrays(dtype="uint8"):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1)).astype(dtype)
    return images, np.tile(np.arange(6), 10)


def test_examples_keep_their_labels():
    _, labels = arrays()
    images = np.zeros((60, 8, 8, 1), np.uint8) + labels[:, None, None, None].astype("uint8")
    (support_x, support_y), (query_x, query_y) = next(
        from_arrays(images, labels, way=5, shot=2, query=4).as_numpy_iterator()
    )
    assert support_x.shape == (10, 8, 8, 1) and query_x.shape == (20, 8, 8, 1)
    class_of = np.rint(support_x[:, 0, 0, 0] * 255)
    assert len(set(zip(support_y, class_of, strict=True))) == 5
    assert set(zip(query_y, np.rint(query_x[:, 0, 0, 0] * 255), strict=True)) == set(
        zip(support_y, class_of, strict=True)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_passed_on_in_float32(dtype):
    images, labels = arrays(dtype)
    (support_x, _), _ = next(from_arrays(images, labels, query=4).as_numpy_iterator())
    assert support_x.dtype == np.float32 and support_x.max() > 1


def test_lists_and_names_of_classes_are_taken():
    labels = ["cat"] * 5 + ["dog"] * 5
    tasks = from_arrays(np.zeros((10, 3)), labels, way=2, shot=1, query=4)
    assert tasks.element_spec[0][0].shape == (2, 3)


def test_rotations_reach_the_images():
    images, labels = arrays()
    plain_episode, rotated_episode = (
        next(from_arrays(images, labels, query=4, rotations=r).as_numpy_iterator())
        for r in (False, True)
    )
    assert not np.array_equal(plain_episode[0][0], rotated_episode[0][0])
    assert np.array_equal(plain_episode[0][1], rotated_episode[0][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros(60, np.uint8)}, r"`images`\. Expected at least one.*\(60,\)"),
        ({"images": np.zeros((0, 8, 8, 1), np.uint8)}, r"`images`\. Expected at least one"),
        ({"images": np.zeros((60, 8, 8, 1), np.int64)}, r"`images`\. Expected uint8.*int64"),
        ({"labels": np.zeros(59, int)}, r"`labels`\. Expected one label.*\(60,\).*\(59,\)"),
        ({"labels": np.zeros((60, 6), int)}, r"`labels`\. Expected one label.*\(60, 6\)"),
        ({"labels": np.zeros(60)}, r"`labels`\. Expected integers or strings.*float64"),
        ({"way": 7}, r"`way`\. Expected at most 6"),
        ({"query": 15}, r"`shot` and `query`.*has 10.*query=15"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    images, labels = arrays()
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"images": images, "labels": labels, "query": 4, **change})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(value):
    images, labels = arrays("float32")
    images[17, 2, 3, 0] = value
    with pytest.raises(ValueError, match=r"finite numbers.*images\[17\]"):
        from_arrays(images, labels, query=4)
