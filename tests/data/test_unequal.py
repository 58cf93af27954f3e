"""Tasks of any size: what is drawn, how it is padded, and in what order it comes."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.data.task_sizes import MetaDatasetRule, UniformRule, size_rule
from tests.pools import ids_of, numbered_pool, same, take

COUNTS = (8, 3, 12, 5, 2, 9, 7, 30, 6, 4)
RANGES = {"way": (3, 6), "shot": (1, 5), "query": (2, 4)}


def tasks(counts=COUNTS, stream="train", seed=0, **settings):
    return numbered_pool(counts).episodes(**{**RANGES, **settings}, seed=seed, stream=stream)


def sets(element):
    """Identities and labels of the examples that are there, of both sets."""
    return [(ids_of(x)[w > 0], y[w > 0]) for x, y, w in element]


@pytest.mark.parametrize("rule", ["uniform", "meta_dataset"])
def test_classes_give_what_they_have_and_sets_are_disjoint(rule):
    ranges = {} if rule == "uniform" else {"shot": (1, 100), "query": 10}
    dataset = tasks(sampler=rule, **ranges)
    assert (dataset.way, dataset.classes) == ((3, 6), 10)
    ways = set()
    for element in take(dataset, 60):
        (support, support_y), (query, query_y) = sets(element)
        ids = np.concatenate([support, query])
        assert len(set(ids)) == len(ids)
        way = support_y.max() + 1
        ways.add(way)
        for label in range(way):
            classes = {*(support[support_y == label] // 100), *(query[query_y == label] // 100)}
            (class_id,) = classes
            shots, queries = np.sum(support_y == label), np.sum(query_y == label)
            assert shots >= 1 and queries >= 1 and shots + queries <= COUNTS[class_id]
            if rule == "uniform":
                assert shots <= 5 and queries <= 4
                assert queries >= 2 or shots + queries == COUNTS[class_id]
        if rule == "meta_dataset":
            assert len(set(np.bincount(query_y))) == 1
        assert not np.any(element[0][2][len(support) :])  # padding comes last
    assert ways == {3, 4, 5, 6}


def test_the_padded_size_is_known_and_holds_the_largest_task():
    (support_x, support_y, support_w), (query_x, _, query_w) = tasks().batch(7).element_spec
    assert support_x == tf.TensorSpec((7, 30, 4, 4, 1), tf.float32)
    assert support_y == tf.TensorSpec((7, 30), tf.int32)
    assert support_w == tf.TensorSpec((7, 30), tf.float32)
    assert query_x.shape == (7, 24, 4, 4, 1) and query_w.shape == (7, 24)


def test_the_numbers_of_a_range_are_equally_likely():
    rule = UniformRule((2, 4), (1, 3), (5, 5))
    counts = tf.fill([4], tf.constant(50, tf.int64))
    draws = tf.data.Dataset.range(1500).map(
        lambda i: tf.stack(rule.draw(tf.stack([i, i]), counts)), num_parallel_calls=2
    )
    shots, queries = np.moveaxis(np.stack(list(draws.as_numpy_iterator())), 1, 0)
    for numbers, high in (((shots > 0).sum(axis=1) - 1, 3), (shots[:, 0], 3)):
        assert abs(np.bincount(numbers)[1:] - 1500 / high).max() < 5 * np.sqrt(1500 / high)
    assert set(queries[queries > 0]) == {5}
    np.testing.assert_array_equal(queries > 0, shots > 0)


def meta_dataset_sizes(counts, share, log_weights, most_queries=10):
    """The rules of section 3.2 in NumPy, for given random numbers."""
    queries = min(most_queries, counts.min() // 2)
    remaining = counts - queries
    total = min(500, np.floor(share * np.minimum(100, remaining) + 1).sum())
    weights = counts * np.exp(log_weights)
    wanted = np.floor(weights / weights.sum() * (total - len(counts))) + 1
    return np.minimum(wanted, remaining), np.full(len(counts), queries)


@pytest.mark.parametrize(("smallest", "largest", "way"), [(2, 40, 7), (100, 900, 50)])
def test_the_rules_of_meta_dataset(monkeypatch, smallest, largest, way):
    """With the random numbers that are put into the formulas of the paper."""
    rng = np.random.default_rng(way)
    counts = rng.integers(smallest, largest, way)
    share, log_weights = rng.uniform(size=1), rng.uniform(-np.log(2), np.log(2), way)
    given = iter(numbers.astype("float32") for numbers in (share, log_weights))
    monkeypatch.setattr("keras_imaml.data.task_sizes.uniform", lambda *_: next(given))
    monkeypatch.setattr("keras_imaml.data.task_sizes.integers", lambda *_: way)
    rule = MetaDatasetRule((5, way), 100, 10)
    counts_of_tasks = rule.draw(tf.constant([0, 0], tf.int64), tf.constant(counts))
    expected = meta_dataset_sizes(counts, *(x.astype("float32") for x in (share, log_weights)))
    np.testing.assert_array_equal(counts_of_tasks, expected)
    assert np.sum(expected[0]) <= rule.largest(counts)[0] <= 500


def test_a_task_depends_on_its_number_only_and_on_the_seed():
    assert same(take(tasks(), 8)[5:], take(tasks(start=5), 3))
    assert not same(take(tasks(seed=1), 3), take(tasks(seed=2), 3))


@pytest.fixture(scope="module")
def in_buckets():
    dataset = tasks(buckets=2)
    return dataset, take(dataset.batch(3), 32)  # twice 16 meta-batches that are sorted together


@pytest.mark.slow
def test_buckets_change_the_order_and_the_padding_alone(in_buckets):
    dataset, batches = in_buckets
    shapes = {(support[2].shape, query[2].shape) for support, query in batches}
    assert len(shapes) > 4
    for support, query in batches:  # padded to the largest task
        assert support[2].sum(axis=1).max() == support[2].shape[1]
        assert query[2].sum(axis=1).max() == query[2].shape[1]
    key = lambda element: str(sets(element))  # noqa: E731
    ordered = [
        tuple(tuple(part[i] for part in one_set) for one_set in batch)
        for batch in batches
        for i in range(3)
    ]
    for group in range(2):
        window = slice(48 * group, 48 * (group + 1))
        expected = take(tasks(start=48 * group), 48)
        assert sorted(map(key, ordered[window])) == sorted(map(key, expected))
    filled_share = np.mean([w.mean() for batch in batches for _, _, w in batch])
    plain_share = np.mean([w.mean() for element in take(dataset, 48) for _, _, w in element])
    assert filled_share > 1.4 * plain_share


@pytest.mark.slow
def test_buckets_resume_by_number(in_buckets, tmp_path):
    _, batches = in_buckets
    assert same(take(tasks(buckets=2, start=3 * 17).batch(3), 3), batches[17:20])
    first = iter(tasks(buckets=2).batch(3))
    for _ in range(14):
        next(first)
    path = tf.train.Checkpoint(iterator=first).save(tmp_path / "checkpoint")
    second = iter(tasks(buckets=2).batch(3))
    tf.train.Checkpoint(iterator=second).restore(path).assert_consumed()
    assert same([next(second)], batches[14:15])


def test_buckets_start_at_a_meta_batch():
    with pytest.raises(ValueError, match=r"`start`\. Expected a multiple.*4.*start=6"):
        tasks(buckets=2, start=6).batch(4)


@pytest.mark.slow
def test_distorted_tasks_keep_weights_labels_and_buckets():
    plain_tasks = tasks(buckets=2, start=8)
    distorted_tasks = ki.data.distorted(plain_tasks, seed=3, start=8)
    assert (distorted_tasks.way, distorted_tasks.classes) == (plain_tasks.way, plain_tasks.classes)
    (_, y, w), _ = take(plain_tasks, 1)[0]
    (x, distorted_y, distorted_w), _ = take(distorted_tasks, 1)[0]
    np.testing.assert_array_equal((y, w), (distorted_y, distorted_w))
    assert x.shape == (30, 4, 4, 1)
    assert distorted_tasks.batch(4).element_spec[0][0].shape.as_list() == [4, None, 4, 4, 1]


def test_turned_classes_and_numbers_of_the_pool():
    dataset = tasks(rotations=True, class_labels=True)
    assert dataset.classes == 40
    for (x, y, w), _ in take(dataset, 5):
        present = w > 0
        np.testing.assert_array_equal(y[present] // 4, ids_of(x)[present] // 100)


@pytest.mark.parametrize("make", [ki.data.sinusoid, ki.data.unlabelled_sinusoid])
def test_waves_of_any_size(make):
    dataset = make(shot=(1, 4), query=6, seed=0)
    assert dataset.batch(3).element_spec[0][2].shape == (3, 4)
    counts = set()
    for (_, _, support_w), (query_x, query_y, query_w) in take(dataset, 40):
        count = int(support_w.sum())
        assert support_w.tolist() == [1.0] * count + [0.0] * (4 - count)
        assert query_w.tolist() == [1.0] * 6 and query_x.shape == query_y.shape == (6, 1)
        counts.add(count)
    assert counts == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"way": (1, 3)}, r"`way`\. Expected an integer of at least 2, or a pair"),
        ({"way": (6, 3)}, r"`way`.*the smaller one first"),
        ({"way": (3, 11)}, r"`way`\. Expected at most 10, the number of classes"),
        ({"shot": (1, 2, 3)}, r"`shot`.*a pair of them"),
        ({"query": (0, 2)}, r"`query`\. Expected an integer of at least 1"),
        ({"counts": (8, 1, 8, 8, 8, 8)}, r"at least two of each class.*leave class '1' out"),
        ({"sampler": "other"}, r"`sampler`\. Expected one of"),
        ({"sampler": "meta_dataset"}, r"`shot` or `query`.*way=\(5, 50\)"),
        ({"buckets": 0}, r"`buckets`\. Expected an integer of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(change, message):
    with pytest.raises(ValueError, match=message):
        tasks(**change)


def test_fixed_numbers_have_no_rule():
    assert size_rule(5, 1, 15, "uniform", 20) is None
    assert size_rule(5, (2, 2), 15, "uniform", 20) == UniformRule((5, 5), (2, 2), (15, 15))
    rule = size_rule((5, 50), (1, 100), 10, "meta_dataset", 20)
    assert rule == MetaDatasetRule((5, 20), 100, 10)
