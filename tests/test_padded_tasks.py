"""A padded task equals the task without padding, to rounding, by every algorithm and solver."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.layers.task_batch_normalization import statistics_of_first
from tests import learners, padded

pytestmark = pytest.mark.usefixtures("in_double_precision")

inner, linear = ki.inner, ki.linear


def descent(**settings):
    """Two steps of a given length; "auto" costs a search for it, which `imaml` makes."""
    return inner.GradientDescent(2, 0.1, **settings)


def guessing(rounds=2, **settings):
    return ki.SelfTraining(ki.IMAML(1.0, descent()), rounds, **settings)


ALGORITHMS = {
    "imaml": lambda: ki.IMAML(1.0),
    "learned_lambda": lambda: ki.IMAML(ki.ProximalStrength(1.0, learned=True), descent()),
    "hessian": lambda: ki.IMAML(4.0, descent(), curvature="hessian"),
    "dual": lambda: ki.IMAML(1.0, linear=linear.Dual()),
    "nystrom": lambda: ki.IMAML(1.0, descent(), linear.Nystrom(rank=8)),
    "neumann": lambda: ki.IMAML(1.0, descent(), linear.Neumann()),
    "adam": lambda: ki.IMAML(1.0, inner.Adam(2)),
    "newton_cg": lambda: ki.IMAML(1.0, inner.NewtonCG(2)),
    "lbfgs": lambda: ki.IMAML(1.0, inner.LBFGS(3)),
    "maml": lambda: ki.MAML(inner.GradientDescent(2)),
    "learned_rate": lambda: ki.MAML(inner.GradientDescent(2, ki.LearningRate(0.1, learned=True))),
    "recompute": lambda: ki.MAML(descent(), recompute=True),
    "fomaml": lambda: ki.MAML(descent(), first_order=True),
    "reptile": lambda: ki.Reptile(),
    "supervised": lambda: ki.algorithms.Supervised(),
    "released": lambda: ki.algorithms.ReleasedIMAML(0.1),
    "self_training": guessing,
    "balanced": lambda: guessing(rounds=1, balanced=True),
}
QUICK = ("dual", None, False, False)
CASES = [  # each algorithm, and each part of a network with and without statistics of queries
    QUICK,
    ("imaml", None, False, True),
    ("imaml", None, True, False),
    ("imaml", "head", False, False),
    ("imaml", "head", True, True),
    ("learned_lambda", None, True, False),
    ("hessian", "head", True, True),
    ("nystrom", "head", False, True),
    ("neumann", None, False, False),
    ("adam", "head", True, False),
    ("newton_cg", None, False, True),
    ("lbfgs", "head", True, False),
    ("maml", None, False, True),
    ("learned_rate", "head", True, False),
    ("recompute", None, True, False),
    ("fomaml", "head", False, True),
    ("reptile", None, False, True),
    ("supervised", None, False, True),
    ("supervised", "head", True, False),
    ("released", None, False, False),
    ("self_training", None, False, True),
    ("balanced", "head", True, False),
]


def assert_same(of_tasks, of_padded):
    assert of_padded.valid.numpy().tolist() == [True, True]
    padded.close(of_padded.query_losses, of_tasks.query_losses)
    present = of_padded.query_outputs[padded.PRESENT["query"]]
    padded.close(present, np.concatenate(list(of_tasks.query_outputs)))
    for a, b in zip(of_padded.gradients, of_tasks.gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            padded.close(a, b)
    if of_padded.per_task is not None:
        padded.close(of_padded.per_task, of_tasks.per_task)


@pytest.mark.parametrize(
    ("name", "adapt", "transductive", "weighted"),
    [
        pytest.param(
            *case, marks=() if case == QUICK else pytest.mark.slow, id="-".join(map(str, case))
        )
        for case in CASES
    ],
)
def test_a_padded_task_is_the_task(name, adapt, transductive, weighted):
    learner = padded.learner_of(ALGORITHMS[name](), adapt=adapt, transductive=transductive)
    data = padded.tasks(weighted=weighted)
    assert_same(padded.meta(learner, data), padded.meta(learner, padded.padded(data)))


@pytest.mark.slow
def test_parts_and_weights_of_one_make_no_difference():
    """In chunks of one task; and weights that say that all examples are there."""
    learner = padded.learner_of(ki.IMAML(1.0))
    data = padded.tasks()
    expected = padded.meta(learner, data)
    assert_same(expected, padded.meta(learner, padded.padded(data), tasks_per_chunk=1))
    equally_weighted_data = tuple((x, y, np.ones(y.shape)) for x, y in data)
    equally_weighted_result = padded.meta(learner, equally_weighted_data)
    padded.close(equally_weighted_result.query_losses, expected.query_losses)
    padded.close(equally_weighted_result.per_task, expected.per_task)
    weighted_result = padded.meta(learner, padded.tasks(weighted=True))
    # Weights do count.
    assert np.abs(weighted_result.query_losses - expected.query_losses).max() > 1e-3


@pytest.mark.parametrize(
    ("adapt", "transductive"),
    [pytest.param(*case, marks=pytest.mark.slow) for case in ((None, True), ("head", False))],
)
def test_padded_images(adapt, transductive):
    """All tasks side by side as channels of one image, and a trunk in stages."""
    keras.utils.set_random_seed(0)
    model = learners.small(classes=2, shape=(4, 4, 1), activation="tanh", dtype="float64")
    learner = ki.MetaLearner(model, ki.IMAML(1.0), adapt=adapt, transductive=transductive)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.SGD(0.1), loss)
    data = padded.tasks(shape=(4, 4, 1))
    assert_same(padded.meta(learner, data), padded.meta(learner, padded.padded(data)))


@pytest.mark.parametrize("settings", [{"divide": False}, {"axis": 1}, {"fixed": True}])
def test_normalization_counts_only_present_examples(settings):
    layer = ki.layers.TaskBatchNormalization(**settings)
    x = np.random.default_rng(0).normal(size=(6, 3, 5))
    layer.build(x.shape)
    present = padded.PRESENT["support"][0]
    with statistics_of_first(None, tf.constant(present)):
        result = layer(x)
    padded.close(result.numpy()[present], layer(x[present]))
