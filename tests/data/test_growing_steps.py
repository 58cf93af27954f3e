"""Numbers of inner steps that grow from task to task."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests.pools import numbered_pool, take
from trainers import experiment
from trainers.components import component
from trainers.settings import Settings


def tasks(start=0):
    return ki.data.sinusoid("train", seed=0, start=start)


def numbers(dataset, count):
    return [int(steps) for _, _, steps in take(dataset, count)]


def test_steps_grow_linearly_and_stay():
    dataset = ki.data.with_growing_steps(tasks(), first=2, last=5, growth=6)
    assert numbers(dataset, 9) == [2, 2, 3, 3, 4, 4, 5, 5, 5]
    assert dataset.batch(4).element_spec[2] == tf.TensorSpec([4], tf.int32)
    for with_steps, plain in zip(take(dataset, 3), take(tasks(), 3), strict=True):
        np.testing.assert_array_equal(with_steps[0][0], plain[0][0])


def test_a_resumed_run_goes_on_where_it_stopped():
    dataset = ki.data.with_growing_steps(tasks(4), first=2, last=5, growth=6, start=4)
    assert numbers(dataset, 4) == [4, 4, 5, 5]


@pytest.mark.parametrize("buckets", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tasks_of_any_size_have_steps_too(buckets):
    pool = numbered_pool((8, 3, 12, 5, 2, 9, 7, 30, 6, 4))
    ranges = {"way": (3, 6), "shot": (1, 5), "query": (2, 4), "buckets": buckets}
    plain_tasks = pool.episodes(**ranges, seed=0, stream="train", start=4)
    dataset = ki.data.with_growing_steps(plain_tasks, first=1, last=9, growth=8, start=4)
    assert numbers(dataset, 4) == [5, 6, 7, 8]
    steps = np.concatenate([steps for *_, steps in take(dataset.batch(2), 4)])
    if buckets == 1:
        assert steps.tolist() == [5, 6, 7, 8, 9, 9, 9, 9]
    assert set(steps) <= {5, 6, 7, 8, 9}  # buckets put tasks in another order


@pytest.mark.slow
def test_a_learner_takes_that_many_steps():
    learner = ki.MetaLearner(ki.models.MLP(1, (1,)), ki.IMAML(inner=ki.inner.GradientDescent(7)))
    learner.compile(loss="mse")
    data = ki.data.with_growing_steps(tasks(), first=1, last=5, growth=4).batch(4)
    history = learner.fit(data, epochs=2, steps_per_epoch=1, verbose=0).history
    assert history["inner_steps"] == [np.mean([1, 2, 3, 4]), 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": 0}, "`first`"),
        ({"last": 1}, "`last`"),
        ({"growth": 0}, "`growth`"),
        ({"start": -1}, "`start`"),
        ({"tasks": tasks().map(lambda s, q: (s, q, 3))}, r"`tasks`.*\(support, query\).*3 parts"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ki.data.with_growing_steps(
            **{"tasks": tasks(), "first": 2, "last": 5, "growth": 6, **changes}
        )


def test_the_trainers_let_training_tasks_alone_grow():
    settings = Settings(
        data="sinusoid",
        inner=component("gradient_descent", steps=6),
        first_inner_steps=2,
        growth_steps=2,
        tasks_per_step=4,
    )
    assert numbers(experiment.tasks(settings, "train", start=2), 8) == [3, 3, 4, 4, 5, 5, 6, 6]
    assert len(experiment.tasks(settings, "validation").element_spec) == 2
