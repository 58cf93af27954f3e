import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.streams import split_key, stream_of_episodes, uniform
from tests.pools import ids_of, numbered_pool, same, take


def episodes(pool, way=5, shot=2, query=3, seed=0, stream="train", rotations=False):
    return pool.episodes(way, shot, query, seed, stream, rotations)


def test_shapes_are_static_and_types_are_right():
    spec = episodes(numbered_pool()).batch(7, drop_remainder=True).element_spec
    (support_x, support_y), (query_x, query_y) = spec
    assert support_x == tf.TensorSpec((7, 10, 4, 4, 1), tf.float32)
    assert support_y == tf.TensorSpec((7, 10), tf.int32)
    assert query_x == tf.TensorSpec((7, 15, 4, 4, 1), tf.float32)
    assert query_y == tf.TensorSpec((7, 15), tf.int32)


def test_it_never_ends():
    assert episodes(numbered_pool()).cardinality() == tf.data.INFINITE_CARDINALITY


def test_every_class_has_its_examples_and_one_label():
    for (support_x, support_y), (query_x, query_y) in take(episodes(numbered_pool()), 20):
        assert np.bincount(support_y).tolist() == [2] * 5
        assert np.bincount(query_y).tolist() == [3] * 5
        class_of = dict(zip(support_y, ids_of(support_x) // 100, strict=True))
        assert len(set(class_of.values())) == 5
        assert [class_of[y] for y in support_y] == (ids_of(support_x) // 100).tolist()
        assert [class_of[y] for y in query_y] == (ids_of(query_x) // 100).tolist()


def test_class_labels_are_the_same_in_every_episode():
    dataset = numbered_pool().episodes(5, 2, 3, 0, "train", class_labels=True)
    assert dataset.classes == 12
    query_labels = set()
    for (support_x, support_y), (query_x, query_y) in take(dataset, 20):
        assert support_y.tolist() == (ids_of(support_x) // 100).tolist()
        assert query_y.tolist() == (ids_of(query_x) // 100).tolist()
        query_labels.update(query_y.tolist())
    assert query_labels == set(range(12))


def test_class_labels_of_turned_classes_are_others():
    """Images whose brightest corner says how they were turned."""
    images = np.zeros((40, 4, 4, 1), "float32")
    images[:, 0, 0] = 1 + np.arange(40)[:, None] // 10
    pool = ExamplePool.from_labels(images, np.arange(40) // 10)
    dataset = pool.episodes(3, 1, 2, 0, "train", rotations=True, class_labels=True)
    assert dataset.classes == 16
    corners = [(0, 0), (3, 0), (3, 3), (0, 3)]  # of anticlockwise quarter turns
    for (support_x, support_y), _ in take(dataset, 20):
        for image, label in zip(support_x, support_y, strict=True):
            assert image[corners[label % 4]] == 1 + label // 4


def test_support_and_query_are_disjoint_and_without_repetition():
    for (support_x, _), (query_x, _) in take(episodes(numbered_pool(), shot=3, query=5), 20):
        ids = np.concatenate([ids_of(support_x), ids_of(query_x)])
        assert len(set(ids)) == len(ids) == 40


def test_the_same_seed_gives_the_same_episodes_in_any_run():
    pool = numbered_pool()
    assert same(take(episodes(pool, seed=3), 5), take(episodes(pool, seed=3), 5))
    assert not same(take(episodes(pool, seed=3), 5), take(episodes(pool, seed=4), 5))


def test_an_element_depends_on_its_index_only():
    pool = numbered_pool()
    skipped = list(episodes(pool).skip(6).take(2).as_numpy_iterator())
    assert same(skipped, take(episodes(pool), 8)[6:])


def test_elements_differ():
    ids = {tuple(ids_of(support[0])) for support, _ in take(episodes(numbered_pool()), 50)}
    assert len(ids) == 50


@pytest.mark.slow
def test_streams_with_one_seed_are_unrelated():
    pool = numbered_pool()
    train, test = (take(episodes(pool, stream=s), 200) for s in ("train", "test"))
    pairs = zip(train, test, strict=True)
    agree = [ids_of(a[0][0])[0] // 100 == ids_of(b[0][0])[0] // 100 for a, b in pairs]
    assert np.mean(agree) < 0.2  # one in twelve by chance


def test_first_elements_are_what_they_always_were():
    (support_x, _), (query_x, _) = take(episodes(numbered_pool(), way=2, shot=1, query=2), 1)[0]
    assert ids_of(support_x).tolist() == [106, 1104]
    assert ids_of(query_x).tolist() == [102, 107, 1106, 1102]


@pytest.mark.slow
def test_classes_labels_and_examples_are_drawn_uniformly():
    pool = numbered_pool()
    ids = np.array([ids_of(support[0]) for support, _ in take(episodes(pool, shot=1), 2400)])
    for label in range(5):  # a class is as likely under each label: labels are permuted
        counts = np.bincount(ids[:, label] // 100, minlength=12)
        assert abs(counts - 200).max() < 5 * np.sqrt(200)
    counts = np.bincount(ids.ravel() % 100, minlength=8)
    assert abs(counts - 1500).max() < 5 * np.sqrt(1500)


def test_classes_may_differ_in_size():
    counts = (5, 9, 30)
    for support, query in take(episodes(numbered_pool(counts), way=3), 100):
        ids = np.concatenate([ids_of(support[0]), ids_of(query[0])])
        assert len(set(ids)) == 15
        assert all(i % 100 < counts[i // 100] for i in ids)


def test_rows_are_sorted_by_class_and_stay_in_order():
    x = np.arange(6, dtype="float32")[:, None]
    pool = ExamplePool.from_labels(x, np.array(["b", "a", "b", "a", "c", "b"]))
    assert pool.class_names == ("a", "b", "c")
    assert pool.counts.tolist() == [2, 3, 1]
    assert pool.examples.ravel().tolist() == [1, 3, 0, 2, 5, 4]


def test_uint8_is_scaled_and_float_is_not():
    labels = np.repeat([0, 1], 4)
    x = np.full((8, 2, 2, 1), 255, np.uint8)
    (support_x, _), _ = take(episodes(ExamplePool.from_labels(x, labels), way=2, query=2), 1)[0]
    assert support_x.dtype == np.float32 and np.all(support_x == 1.0)
    x = np.full((8, 3), -7.5, np.float32)
    (support_x, _), _ = take(episodes(ExamplePool.from_labels(x, labels), way=2, query=2), 1)[0]
    assert support_x.shape == (4, 3) and np.all(support_x == -7.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_class_is_turned_alike_in_support_and_query(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 5, 5, channels), dtype=np.uint8)
    pool = ExamplePool.from_labels(np.repeat(images, 8, axis=0), np.repeat(np.arange(6), 8))
    rotated_images = {}
    for index in range(6):
        for quarters in range(4):
            image = np.rot90(images[index], quarters).astype("float32") / np.float32(255)
            rotated_images[image.tobytes()] = (index, quarters)
    rotations = []
    for (support_x, support_y), (query_x, query_y) in take(episodes(pool, rotations=True), 60):
        support = [rotated_images[x.tobytes()] for x in support_x]  # a KeyError: not a rotation
        query = [rotated_images[x.tobytes()] for x in query_x]
        of_label = dict(zip(support_y, support, strict=True))
        assert [of_label[y] for y in support_y] == support
        assert [of_label[y] for y in query_y] == query
        assert len({index for index, _ in of_label.values()}) == 5
        rotations += [quarters for _, quarters in of_label.values()]
    assert np.bincount(rotations, minlength=4).min() > 300 / 4 - 5 * np.sqrt(300 / 4)


@pytest.mark.parametrize("rotations", [False, True])
def test_an_iterator_is_saved_and_restored_in_the_middle(tmp_path, rotations):
    def iterator():
        tasks = episodes(numbered_pool(size=28), rotations=rotations)
        return iter(tasks.batch(3).prefetch(2))

    first = iterator()
    for _ in range(11):
        next(first)
    path = tf.train.Checkpoint(iterator=first).save(tmp_path / "checkpoint")
    expected = [next(first) for _ in range(4)]
    second = iterator()
    tf.train.Checkpoint(iterator=second).restore(path).assert_consumed()
    elements = [next(second) for _ in range(4)]
    assert same(expected, elements)
    # The position is stored, and not the episodes made ahead (TensorFlow: not so on macOS).
    assert (
        sys.platform == "darwin" or sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000
    )


def test_a_stream_takes_any_sampler():
    def sample(key):
        first, second = split_key(key, 2)
        x = uniform(first, [2, 1], 5.0, 6.0)
        return (x, x), (uniform(second, [2, 1]), x)

    (support_x, _), (query_x, _) = take(stream_of_episodes(sample, 0, "mine"), 1)[0]
    assert np.all((support_x >= 5) & (support_x < 6)) and np.all((query_x >= 0) & (query_x < 1))
    assert not np.allclose(support_x - 5, query_x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"way": 1}, r"`way`\. Expected an integer of at least 2.*way=1"),
        ({"way": 13}, r"`way`\. Expected at most 12, the number of classes.*way=13"),
        ({"shot": 0}, r"`shot`\. Expected an integer of at least 1.*shot=0"),
        ({"query": 0}, r"`query`\. Expected an integer of at least 1.*query=0"),
        ({"query": 1.5}, r"`query`\. Expected an integer.*query=1\.5"),
        ({"seed": -1}, r"`seed`\. Expected an integer of at least 0.*seed=-1"),
    ],
)
def test_numbers_out_of_range_are_refused_early(change, message):
    with pytest.raises(ValueError, match=message):
        episodes(numbered_pool(), **change)


def test_too_few_examples_name_the_class_and_its_count():
    pool = numbered_pool((8, 4, 8))
    with pytest.raises(ValueError, match=r"smallest class, '1', which has 4.*shot=2, query=3"):
        episodes(pool, way=2)
    episodes(pool, way=2, shot=1)  # just fits


def test_only_square_images_are_turned():
    x = np.zeros((8, 3, 4, 1), np.uint8)
    pool = ExamplePool.from_labels(x, np.repeat([0, 1], 4))
    with pytest.raises(ValueError, match=r"`rotations`\. Expected square images.*\(8, 3, 4, 1\)"):
        episodes(pool, way=2, shot=1, rotations=True)


def test_batches_have_a_size_that_is_known():
    episodes = stream_of_episodes(lambda key: uniform(key, [2]), 0, "train")
    assert episodes.batch(3).element_spec.shape == (3, 2)
    assert episodes.batch(3, drop_remainder=False).element_spec.shape == (3, 2)
    assert episodes.take(4).batch(3).element_spec.shape == (None, 2)  # which has an end
    assert episodes.cardinality() == tf.data.INFINITE_CARDINALITY
