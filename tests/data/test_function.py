"""Episodes that a function of the user draws."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki


def words(rng):
    labels = rng.integers(0, 2, 5).astype("int32")
    inputs = {"words": rng.integers(0, 9, (5, 4)).astype("int32"), "size": rng.normal(size=(5, 1))}
    part = lambda chosen: (  # noqa: E731
        {name: x[chosen] for name, x in inputs.items()},
        {"kind": labels[chosen]},
    )
    return part(slice(0, 2)), part(slice(2, 5))


def flat(episode):
    return [*episode[0][0].values(), *episode[1][0].values(), episode[1][1]["kind"]]


def test_episodes_depend_on_seed_and_number_alone():
    episodes = list(ki.data.from_function(words, seed=3).take(4).as_numpy_iterator())
    resumed_episodes = list(
        ki.data.from_function(words, seed=3, start=2).take(2).as_numpy_iterator()
    )
    reseeded_episode = next(ki.data.from_function(words, seed=4).as_numpy_iterator())
    for a, b in zip(episodes[2:], resumed_episodes, strict=True):
        for x, y in zip(flat(a), flat(b), strict=True):
            np.testing.assert_array_equal(x, y)
    different_episodes = [episodes[1], resumed_episodes[0], reseeded_episode]
    assert not any(np.array_equal(flat(x)[0], flat(episodes[0])[0]) for x in different_episodes)


def test_structures_shapes_and_dtypes_are_those_of_the_function():
    (support_x, support_y), (query_x, _) = next(iter(ki.data.from_function(words).batch(3)))
    assert support_x["words"].shape == (3, 2, 4) and support_x["words"].dtype == "int32"
    assert query_x["size"].shape == (3, 3, 1) and support_y["kind"].shape == (3, 2)


@pytest.mark.parametrize(
    ("draw", "settings", "name"),
    [
        (lambda rng: rng.normal(size=(3, 2)), {}, "draw"),
        (lambda rng: ((1.0, 2.0), 3.0), {}, "draw"),
        (lambda rng: ((np.ones([2, 1]), [0, 1]), (np.ones([2, 1]), [0, 1])), {}, "draw"),
        (words, {"seed": -1}, "seed"),
        (words, {"start": 0.5}, "start"),
    ],
)
def test_arguments_are_checked(draw, settings, name):
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        ki.data.from_function(draw, **settings)


def test_batches_are_of_a_known_size():
    assert ki.data.from_function(words).batch(3).element_spec[0][1]["kind"].shape == (3, 2)


def test_a_task_of_another_shape_is_named():
    def growing(rng):
        x = np.ones([2 + int(rng.integers(1000) > 500), 1], "float32")
        return (x, x), (x, x)

    with pytest.raises(tf.errors.OpError, match="Invalid task from `draw`"):
        for _ in ki.data.from_function(growing).take(40):
            pass


def any_size(rng):
    support, query = rng.integers(1, 4), rng.integers(1, 3)
    x = rng.normal(size=(support + query, 2)) + 5
    return ({"a": x[:support]}, x[:support, 0]), ({"a": x[support:]}, x[support:, 0])


def test_tasks_of_any_size_are_padded_with_weights():
    tasks = ki.data.from_function(any_size, seed=0, largest=(3, 2))
    assert tasks.batch(4).element_spec[0][2] == tf.TensorSpec((4, 3), tf.float32)
    sizes = set()
    for number, task in enumerate(tasks.take(12).as_numpy_iterator()):
        for part, expected in zip(task, any_size(np.random.default_rng([0, number])), strict=True):
            x, y, weights = part
            count = len(expected[1])
            assert weights.tolist() == [1.0] * count + [0.0] * (len(weights) - count)
            np.testing.assert_array_equal(x["a"][:count], expected[0]["a"])
            np.testing.assert_array_equal(y[:count], expected[1])
            assert not np.any(x["a"][count:])
        sizes.add(int(task[0][2].sum()))
    assert sizes == {1, 2, 3}


def test_weights_of_examples_are_padded_too():
    def weighted(rng):
        del rng
        return (np.ones((2, 1)), np.ones(2), np.array([0.5, 2.0])), (np.ones((1, 1)), np.ones(1))

    (_, _, support), (_, _, query) = next(iter(ki.data.from_function(weighted, largest=(3, 2))))
    assert support.numpy().tolist() == [0.5, 2.0, 0.0] and query.numpy().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("largest", "message"),
    [
        ((1, 2), r"support set of 1 to 1 examples.*raise `largest`"),
        (3, r"`largest`\. Expected the most support and query"),
        ((3, 0), r"`largest`\. Expected an integer of at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(largest, message):
    with pytest.raises(ValueError, match=message):
        ki.data.from_function(lambda rng: any_size(np.random.default_rng(2)), largest=largest)


def test_a_third_part_is_the_number_of_inner_steps():
    def draw(rng):
        x = rng.normal(size=(3, 1)).astype("float32")
        return [(x, x), (x, x), int(rng.integers(1, 9))]

    _, _, steps = next(iter(ki.data.from_function(draw).batch(4)))
    assert steps.shape == (4,) and steps.dtype.is_integer
