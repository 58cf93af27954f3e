import numpy as np
import pytest

from keras_imaml.data import glyphs
from keras_imaml.data.glyphs import render


def test_shapes_and_range():
    tasks = glyphs("validation", way=5, shot=1, query=4, classes=10, examples_per_class=5)
    (support_x, _), (query_x, _) = next(tasks.as_numpy_iterator())
    assert support_x.shape == (5, 28, 28, 1) and query_x.shape == (20, 28, 28, 1)
    assert support_x.min() == 0.0 and support_x.max() == 1.0  # ink 1 on background 0


def test_a_drawing_depends_on_class_and_example_only():
    drawings = render(0, 40, 6)
    assert np.array_equal(render(0, 3, 6), drawings[:3])
    # Across the blocks that are drawn at once.
    assert np.array_equal(render(30, 10, 6), drawings[30:])
    assert np.array_equal(render(0, 40, 2), drawings[:, :2])
    # Thin lines are as they are beside thick ones.
    assert all(np.array_equal(render(i, 1, 1)[0], drawings[i, :1]) for i in range(40))


def test_drawings_are_what_they_always_were():
    # Sums allow for the last digit of sines, which differs between processors.
    ink = render(0, 4, 2).sum(axis=(2, 3), dtype=np.int64)
    np.testing.assert_allclose(
        ink, [[19637, 18440], [27075, 26899], [23359, 17836], [24575, 26219]], rtol=1e-3
    )


def test_every_drawing_is_a_legible_character():
    ink = render(0, 100, 20) / 255.0
    amount = ink.mean(axis=(2, 3))
    assert amount.min() > 0.02 and amount.max() < 0.35
    # Nearly all of it is on the page: the border is almost white.
    border = np.concatenate([ink[..., 0, :], ink[..., -1, :], ink[..., 0], ink[..., -1]], axis=-1)
    assert border.mean() < 0.02


def test_examples_vary_and_resemble_their_class():
    images = render(0, 60, 4).reshape(60, 4, -1) / 255.0
    distances_within = np.linalg.norm(images[:, 0] - images[:, 1], axis=-1)
    distances_between = np.linalg.norm(images[:-1, 0] - images[1:, 1], axis=-1)
    assert distances_within.min() > 1.0
    assert distances_within.mean() < 0.9 * distances_between.mean()


def test_pixels_alone_do_not_solve_it():
    tasks = glyphs("test", seed=0, classes=100).take(100).as_numpy_iterator()
    accuracy = []
    for (support_x, support_y), (query_x, query_y) in tasks:
        distance = ((query_x[:, None] - support_x[None]) ** 2).sum(axis=(2, 3, 4))
        accuracy.append(np.mean(support_y[distance.argmin(axis=1)] == query_y))
    assert 0.45 < np.mean(accuracy) < 0.75


def test_splits_hold_different_characters():
    first = [
        next(glyphs(s, classes=5, examples_per_class=2, query=1).as_numpy_iterator())[0][0]
        for s in ("train", "validation", "test")
    ]
    drawings = {image.tobytes() for images in first for image in images}
    assert len(drawings) == 15


def test_default_numbers_of_classes():
    tasks = glyphs("validation", way=100, query=1)
    assert tasks.element_spec[0][0].shape[0] == 100
    with pytest.raises(ValueError, match="at most 100"):
        glyphs("validation", way=101, query=1)


@pytest.mark.parametrize("image_size", [16, 28, 42])
def test_sizes_show_the_same_drawing(image_size):
    small = render(5, 1, 1, image_size)[0, 0] / 255.0
    assert small.shape == (image_size, image_size)
    assert abs(small.mean() - (render(5, 1, 1)[0, 0] / 255.0).mean()) < 0.03


def test_the_kept_drawings_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        render(0, 2, 2)[:] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "val"}, r"`split`\. Expected one of"),
        ({"classes": 1}, r"`classes`\. Expected an integer of at least 2"),
        ({"classes": 2_000_000}, r"`classes`\. Expected at most 1000000"),
        ({"classes": 4}, r"`way`\. Expected at most 4"),
        ({"examples_per_class": 10}, r"'glyph 0', which has 10.*query=15"),
        ({"image_size": 4}, r"`image_size`\. Expected an integer of at least 8"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        glyphs(**{"classes": 6, **change})
