import hashlib
import importlib.resources
import itertools
import json
import re

import pytest

from keras_imaml.data.class_splits import SPLITS, read_split

SIZES = {
    "omniglot": (1100, 100, 423),
    "mini_imagenet": (64, 16, 20),
    "cifar_fs": (64, 16, 20),
}


@pytest.mark.parametrize("dataset", SIZES)
def test_splits_are_disjoint_and_of_the_published_size(dataset):
    splits = [read_split(dataset, split) for split in SPLITS]
    assert tuple(map(len, splits)) == SIZES[dataset]
    assert all(len(set(names)) == len(names) for names in splits)
    for first_split, second_split in itertools.combinations(splits, 2):
        assert not set(first_split) & set(second_split)


def test_ranges_of_glyphs_do_not_meet():
    ranges = [read_split("glyphs", split) for split in SPLITS]
    for class_range, next_range in itertools.pairwise(ranges):
        assert class_range["first_class"] + class_range["size"] <= next_range["first_class"]
    assert [known["default_classes"] for known in ranges] == [600, 100, 200]


def test_omniglot_split_was_made_as_its_file_says():
    train, validation, test = (read_split("omniglot", split) for split in SPLITS)
    names = sorted(
        train + validation + test, key=lambda n: hashlib.sha256(f"0:{n}".encode()).hexdigest()
    )
    assert set(names[:1100]) == set(train)
    assert set(names[1100:1200]) == set(validation)


def test_omniglot_train_and_test_span_all_alphabets():
    for split in ("train", "test"):
        assert len({name.rsplit("_", 1)[0] for name in read_split("omniglot", split)}) == 50


def test_mini_imagenet_has_wordnet_ids():
    for split in SPLITS:
        assert all(re.fullmatch(r"n\d{8}", name) for name in read_split("mini_imagenet", split))
    assert "n02110341" in read_split("mini_imagenet", "test")  # dalmatian


def test_cifar_fs_keeps_published_examples():
    assert "streetcar" in read_split("cifar_fs", "train")
    assert "motorcycle" in read_split("cifar_fs", "validation")
    assert "rocket" in read_split("cifar_fs", "test")


@pytest.mark.parametrize("dataset", [*SIZES, "glyphs"])
def test_files_say_where_they_come_from(dataset):
    folder = importlib.resources.files("keras_imaml.data") / "splits"
    content = json.loads((folder / f"{dataset}.json").read_text())
    assert set(content) >= {"about", "made_by", *SPLITS}


@pytest.mark.parametrize("split", ["val", "Train", "", None])
def test_other_names_are_refused(split):
    with pytest.raises(ValueError, match=r"`split`\. Expected one of.*'validation'"):
        read_split("omniglot", split)
