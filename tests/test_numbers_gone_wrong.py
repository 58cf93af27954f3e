"""What happens when numbers go wrong, as docs/robustness.md says, for every algorithm."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners


def iMAML(steps=2, rate=0.1, strength=1.0):  # noqa: N802
    return ki.IMAML(strength, ki.inner.GradientDescent(steps=steps, learning_rate=rate))


SLOW = pytest.mark.slow
ALGORITHMS = {
    "imaml": iMAML,
    "imaml_newton_dual": lambda **_: ki.IMAML(1.0, ki.inner.NewtonCG(steps=3), ki.linear.Dual()),
    "maml": lambda steps=2, rate=0.1: ki.MAML(ki.inner.GradientDescent(steps, rate)),
    "fomaml": lambda steps=2, rate=0.1: ki.MAML(
        ki.inner.GradientDescent(steps, rate), first_order=True
    ),
    "reptile": lambda steps=2, rate=0.1: ki.Reptile(ki.inner.GradientDescent(steps, rate)),
}
NAMES = [name if name == "imaml" else pytest.param(name, marks=SLOW) for name in ALGORITHMS]
DESCENT = [name for name in NAMES if "imaml_newton_dual" not in str(name)]


def learner(algorithm, **settings):
    keras.utils.set_random_seed(0)
    meta_learner = ki.MetaLearner(network(), ALGORITHMS[algorithm](**settings))
    meta_learner.compile(keras.optimizers.SGD(0.1), learners.cross_entropy())
    return meta_learner


def network():
    """Quick to trace, and all that images meet."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, strides=4, name="conv")(inputs)
    x = ki.layers.TaskBatchNormalization(name="norm")(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


def step(meta_learner, batch):
    """One step: what was logged, and the weights before and after."""
    before = [v.numpy() for v in meta_learner.trainable_variables]
    logs = meta_learner.fit(learners.dataset(batch), steps_per_epoch=1, verbose=0).history
    after = [v.numpy() for v in meta_learner.trainable_variables]
    return {name: value[0] for name, value in logs.items()}, before, after


def assert_learned(before, after):
    assert all(np.isfinite(weight).all() for weight in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def assert_unchanged(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def replaced(batch, change):
    (x, y), (q, z) = ([part.copy() for part in parts] for parts in batch)
    change(x, y, q, z)
    return (x, y), (q, z)


def support_nan(x, y, q, z):
    x[0, 0] = np.nan


def query_infinity(x, y, q, z):
    q[0, 0, 0, 0] = np.inf


def huge_pixels(x, y, q, z):
    x[0] = [[[[3e38]]]]


@pytest.mark.parametrize("algorithm", DESCENT)
def test_a_broken_task_is_counted_and_other_tasks_learn_as_if_without_it(algorithm):
    batch = learners.images(tasks=4)
    remaining_tasks = tf.nest.map_structure(lambda part: part[1:], batch)
    _, _, expected = step(learner(algorithm), remaining_tasks)
    meta_learner = learner(algorithm)
    start = meta_learner.get_weights()
    for change in (support_nan, query_infinity, huge_pixels):
        meta_learner.set_weights(start)
        logs, before, after = step(meta_learner, replaced(batch, change))
        assert_learned(before, after)
        assert logs["bad_tasks"] == 0.25
        for weight, expected_weight in zip(after, expected, strict=True):
            np.testing.assert_allclose(weight, expected_weight, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", DESCENT)
def test_an_exploding_inner_loop_leaves_finite_weights(algorithm):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    rate = ki.LearningRate(1e4, "model", learned=False)  # which is not compared with lambda
    meta_learner = ki.MetaLearner(
        keras.Model(inputs, outputs), ALGORITHMS[algorithm](steps=200, rate=rate)
    )
    meta_learner.compile(keras.optimizers.SGD(0.1), "mse")
    (x, _), (q, _) = learners.images()
    batch = (x, np.ones((*x.shape[:2], 3), "float32")), (q, np.ones((*q.shape[:2], 3), "float32"))
    logs, before, after = step(meta_learner, batch)
    assert logs["bad_tasks"] == 1
    assert_unchanged(before, after)


@pytest.mark.parametrize("algorithm", DESCENT)
def test_weights_of_nan_are_not_trained_on_and_stop_the_run(algorithm):
    meta_learner = learner(algorithm)
    kernel = meta_learner.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="100 % of the tasks of the last 2 steps hold NaN"):
        meta_learner.fit(
            learners.dataset(learners.images()),
            steps_per_epoch=3,
            verbose=0,
            callbacks=[ki.callbacks.StopOnBadTasks(steps=2)],
        )
    assert int(meta_learner.optimizer.iterations) == 2


def test_weights_that_break_in_the_middle_of_an_epoch_are_not_saved(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                kernel = self.model.trainable_variables[0]
                kernel.assign(np.full(kernel.shape, np.nan))

    meta_learner = learner("imaml")
    checkpoints = ki.callbacks.Checkpoints(meta_learner, str(tmp_path))
    with pytest.raises(ValueError, match="No checkpoint of step 5"):
        meta_learner.fit(
            learners.dataset(learners.images()),
            steps_per_epoch=5,
            verbose=0,
            callbacks=[ki.callbacks.StopOnBadTasks(), checkpoints, Break()],
        )
    assert not list(tmp_path.glob("*.index"))


@pytest.mark.slow
def test_a_share_of_bad_tasks_may_be_tolerated():
    batches = learners.dataset(replaced(learners.images(tasks=4), support_nan))
    meta_learner = learner("imaml")
    stop = ki.callbacks.StopOnBadTasks
    meta_learner.fit(batches, steps_per_epoch=1, verbose=0, callbacks=[stop(0.25)])
    with pytest.raises(ValueError, match="25 % of the tasks.*more than 20 %"):
        meta_learner.fit(batches, steps_per_epoch=1, verbose=0, callbacks=[stop(0.2)])
    with pytest.raises(ValueError, match="Invalid value for `share`"):
        stop(-0.1)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", NAMES[:2])
def test_a_strength_of_nan_makes_every_task_bad(algorithm):
    keras.utils.set_random_seed(0)
    template = ALGORITHMS[algorithm]()
    strength = ki.ProximalStrength(1.0, learned=True)
    imaml = ki.IMAML(strength, template.inner, template.linear)
    meta_learner = learners.compiled(network(), imaml)
    (logarithm,) = meta_learner.algorithm.trainable_variables
    logarithm.assign(np.nan)
    logs, before, after = step(meta_learner, learners.images())
    assert logs["bad_tasks"] == 1
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


DEGENERATE = {
    "constant support set": lambda x, y, q, z: x.fill(0.5),
    "duplicates": lambda x, y, q, z: x.__setitem__(np.s_[:], x[:, :1]),
    "one class": lambda x, y, q, z: y.fill(1),
    "blank images": lambda x, y, q, z: [x.fill(0), q.fill(0)],
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", NAMES)
def test_degenerate_support_sets_are_learned_from(algorithm):
    meta_learner = learner(algorithm)
    start = meta_learner.get_weights()
    for kind, change in DEGENERATE.items():
        meta_learner.set_weights(start)
        logs, before, after = step(meta_learner, replaced(learners.images(), change))
        assert logs["bad_tasks"] == 0, kind
        assert np.isfinite(logs["loss"]), kind
        assert_learned(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["imaml", "maml", "fomaml"])
def test_a_loss_of_zero_changes_nothing(algorithm):
    keras.utils.set_random_seed(0)
    meta_learner = ki.MetaLearner(ki.models.MLP(1, (2,), hidden=(4,)), ALGORITHMS[algorithm]())
    meta_learner.compile(keras.optimizers.SGD(1.0), lambda y, z: 0.0 * tf.reduce_mean(z, axis=-1))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 2)).astype("float32"), np.zeros((2, 3, 1), "float32")
    logs, before, after = step(meta_learner, ((x, y), (x, y)))
    assert logs["loss"] == logs["bad_tasks"] == 0
    assert_unchanged(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1e-6, 1e6])
def test_a_strength_at_the_edges_learns(strength):
    keras.utils.set_random_seed(0)
    # A step size that is right for the curvature of the proximal term.
    meta_learner = learners.compiled(
        network(), iMAML(rate=min(0.1, 1 / strength), strength=strength)
    )
    logs, before, after = step(meta_learner, learners.images())
    assert logs["bad_tasks"] == 0
    assert all(np.isfinite(weight).all() for weight in after)
    change = max(np.abs(a - b).max() for a, b in zip(before, after, strict=True))
    assert change > 1e-4  # at 1e-6 along the directions that support sets leave alone


@pytest.mark.parametrize("strength", [0.0, -1.0, np.nan, np.inf])
def test_a_strength_beyond_them_is_refused(strength):
    with pytest.raises(ValueError, match="Invalid value for `.*Received"):
        iMAML(strength=strength)
