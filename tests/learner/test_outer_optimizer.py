"""What the optimizer of the outer level does with the meta-gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners

RATE = 0.5


def learner_of(optimizer, algorithm=None):
    keras.utils.set_random_seed(0)
    network = ki.models.MLP(3, (4,), hidden=(5,))
    learner = ki.MetaLearner(network, algorithm or learners.imaml())
    learner.compile(optimizer, learners.cross_entropy())
    return learner


def vectors(seed, tasks=2):
    rng = np.random.default_rng(seed)
    support_x, query_x = rng.normal(size=(2, tasks, 3, 4)).astype("float32")
    labels = np.tile(np.arange(3, dtype="int32"), (tasks, 1))
    return (support_x, labels), (query_x, labels)


def joined(*batches):
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)


def wrapped(optimizer):
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)


@pytest.mark.parametrize(
    ("wrap", "eagerly"),
    [
        (lambda optimizer: optimizer, False),
        pytest.param(wrapped, False, marks=pytest.mark.slow),
        pytest.param(lambda optimizer: optimizer, True, marks=pytest.mark.slow),
    ],
)
def test_accumulated_gradients_are_those_of_one_meta_batch(wrap, eagerly, tmp_path):
    accumulating = keras.optimizers.SGD(RATE, gradient_accumulation_steps=2)
    learner = learner_of(wrap(accumulating))
    learner.run_eagerly = eagerly
    steps = ki.callbacks.Checkpoints(learner, str(tmp_path))
    theta = learner.parameters.theta().numpy()
    batches = [vectors(seed) for seed in range(2)]
    learner.train_on_batch(*batches[0])
    np.testing.assert_array_equal(learner.parameters.theta(), theta)
    learner.train_on_batch(*batches[1])
    assert steps.step == 2  # checkpoints count meta-steps, not updates

    expected_learner = learner_of(keras.optimizers.SGD(RATE))
    expected_learner.train_on_batch(*joined(*batches))
    expected = expected_learner.parameters.theta().numpy()
    assert np.abs(expected - theta).max() > 1e-3
    np.testing.assert_allclose(learner.parameters.theta(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        learners.imaml,
        pytest.param(lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1)), marks=pytest.mark.slow),
        pytest.param(lambda: ki.Reptile(ki.inner.GradientDescent(2, 0.1)), marks=pytest.mark.slow),
    ],
)
def test_a_learner_without_trainable_weights_says_so_and_stays(make):
    learner = learner_of(keras.optimizers.SGD(RATE), make())
    learner.model.trainable = False
    learner.compile(keras.optimizers.SGD(RATE), learners.cross_entropy())
    theta = learner.parameters.theta().numpy()
    with pytest.warns(UserWarning, match="trains nothing.*Received: 0 trainable weights"):
        logs = learner.train_on_batch(*vectors(0), return_dict=True)
    assert np.isfinite(logs["loss"])
    np.testing.assert_array_equal(learner.parameters.theta(), theta)
