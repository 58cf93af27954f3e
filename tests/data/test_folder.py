import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data import from_folder
from keras_imaml.data.folder import load_examples


@pytest.fixture
def animals(tmp_path):
    """Three classes of gray squares; class k has the level 50 k + number of the image."""
    for label, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.full((10, 12, 3), 50 * label + number, np.uint8)
            (tmp_path / name / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return tmp_path


def test_examples_are_read_in_sorted_order(animals):
    images, labels, names = load_examples(animals, image_size=6, channels=1)
    assert names == ["ant", "bee", "cat"]
    assert labels.dtype == np.int32 and labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert images.dtype == np.uint8 and images.shape == (12, 6, 6, 1)
    levels = [50 * label + number for label in range(3) for number in range(4)]
    assert images[:, 3, 3, 0].tolist() == levels


def test_foreign_and_hidden_files_are_skipped(animals):
    (animals / "notes.txt").write_text("no class")
    (animals / "ant" / "readme.md").write_text("no image")
    (animals / "ant" / "._0.png").write_text("no image either")
    (animals / ".cache").mkdir()
    _, labels, names = load_examples(str(animals), 6, 3)
    assert names == ["ant", "bee", "cat"] and len(labels) == 12


def test_extensions_may_be_in_capitals(animals):
    (animals / "ant" / "0.png").rename(animals / "ant" / "0.PNG")
    assert len(load_examples(animals, 6, 3)[1]) == 12


def test_episodes_keep_classes_together(animals):
    tasks = from_folder(animals, way=3, shot=1, query=3, image_size=8, channels=1)
    assert tasks.element_spec[0][0] == tf.TensorSpec((3, 8, 8, 1), tf.float32)
    (support_x, support_y), (query_x, query_y) = next(tasks.as_numpy_iterator())
    level = np.rint(support_x[:, 0, 0, 0] * 255) // 50
    assert sorted(level) == [0, 1, 2]
    assert (np.rint(query_x[:, 0, 0, 0] * 255) // 50).tolist() == level[query_y].tolist()
    assert support_y.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("folder", "split"), [("train", "train"), ("val", "validation"), ("extra", "extra")]
)
def test_a_split_is_a_folder(animals, tmp_path_factory, folder, split):
    root = tmp_path_factory.mktemp("root")
    (root / folder).symlink_to(animals)
    tasks = from_folder(root, split, way=3, query=3)
    assert tasks.element_spec[1][0].shape == (9, 84, 84, 3)


def test_splits_have_unrelated_episodes(animals, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    episodes = []
    for split in ("train", "test"):
        (root / split).symlink_to(animals)
        tasks = from_folder(root, split, way=2, query=2, image_size=4).take(10)
        episodes.append(np.stack([support[0] for support, _ in tasks.as_numpy_iterator()]))
        (root / split).unlink()
    assert not np.array_equal(*episodes)


def test_a_class_of_two_splits_is_refused(animals, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "val" / "bee").mkdir(parents=True)
    (root / "train").symlink_to(animals)
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=r"no other split has.*\['bee'\] in .*train|val"):
            from_folder(root, split, way=2, query=2)
    (root / "val" / "bee").rename(root / "val" / "wasp")
    assert from_folder(root, "train", way=2, query=2)


def test_numbers_that_the_images_do_not_suffice_for_name_the_folder(animals):
    with pytest.raises(ValueError, match=f"images in '{animals}'"):
        from_folder(animals, way=3, query=40)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path`\. Expected an existing folder.*nowhere"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"'validation' or 'val' or 'valid'.*split='validation'"):
        from_folder(tmp_path, "validation")


def test_a_folder_without_classes_is_named(tmp_path):
    (tmp_path / "image.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one folder for each class.*has no folders"):
        from_folder(tmp_path)


def test_a_class_without_images_is_named(animals):
    (animals / "dog").mkdir()
    (animals / "dog" / "picture.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.png, \.jpg.*dog', which has none"):
        from_folder(animals)


def test_a_class_with_too_few_images_is_named(animals):
    (animals / "bee" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"'bee', which has 3.*shot=1, query=3"):
        from_folder(animals, way=2, query=3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", b"no image"])
def test_a_corrupt_file_is_named(animals, content):
    (animals / "bee" / "2.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bee.2\.png'\], which cannot be decoded"):
        from_folder(animals, way=2, query=3)


@pytest.mark.parametrize("channels", [0, 2, 4, "rgb"])
def test_channels_are_one_or_three(animals, channels):
    with pytest.raises(ValueError, match=r"`channels`\. Expected 1 for gray or 3 for RGB"):
        load_examples(animals, 6, channels)
