"""Weights that are frozen or unfrozen after a learner was made count from `compile` on."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_imaml as ki
from keras_imaml.learner.weight_summary import ADAPTED, FIXED, SHARED, weight_rows
from tests.learners import imaml

INNER = ki.inner.GradientDescent(steps=2, learning_rate=0.1)
ALGORITHMS = {
    "imaml": imaml,
    "maml": lambda: ki.MAML(inner=INNER),
    "first_order": lambda: ki.MAML(inner=INNER, first_order=True),
    "reptile": lambda: ki.Reptile(inner=INNER),
    "released": lambda: ki.algorithms.ReleasedIMAML(inner=INNER),
    "supervised": ki.algorithms.Supervised,
}


class Subclassed(keras.Model):
    def __init__(self, base, head):
        super().__init__()
        self.base, self.head = base, head

    def call(self, x):
        return self.head(self.base(x))


def dense(units, name, seed):
    return layers.Dense(
        units, "tanh", kernel_initializer=keras.initializers.RandomNormal(0, 1, seed), name=name
    )


def base_and_head():
    base = keras.Sequential([keras.Input((2,)), dense(3, "inner", 1)], name="base")
    return base, dense(2, "head", 2)


def nested():
    base, head = base_and_head()
    return keras.Sequential([keras.Input((2,)), base, head])


def subclassed():
    model = Subclassed(*base_and_head())
    model(np.zeros((1, 2)))
    return model


NETWORKS = {"nested": nested, "subclassed": subclassed}


def base_of(model):
    return model.base if isinstance(model, Subclassed) else model.get_layer("base")


def set_base(model, trainable, level="layer"):
    base = base_of(model)
    if level == "layer":
        base.trainable = trainable
    else:
        for variable in base.weights:
            variable.trainable = trainable


def data():
    rng = np.random.default_rng(0)
    draw = lambda n: rng.normal(size=(3, n, 2)).astype("float32")  # noqa: E731
    return (draw(4), draw(4)), (draw(5), draw(5))


def compiled(learner):
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    return learner


def after_a_step(learner):
    learner.train_on_batch(*data())
    (x, y), _ = data()
    return [*learner.model.get_weights(), learner.adapt_weights(x[0], y[0])]


def assert_equal(result, expected):
    for value, expected_value in zip(result, expected, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "algorithm", "adapt", "level"),
    [
        ("subclassed", "imaml", None, "variables"),
        ("subclassed", "maml", "head", "layer"),
        ("nested", "first_order", None, "layer"),
        ("subclassed", "reptile", None, "layer"),
        ("nested", "released", None, "layer"),
        ("subclassed", "supervised", "head", "layer"),
    ],
)
def test_unfreezing_counts_from_compile_on(network, algorithm, adapt, level):
    """As in a learner of a network that was trainable from the start."""
    model = NETWORKS[network]()
    set_base(model, False, level)
    learner = compiled(ki.MetaLearner(model, ALGORITHMS[algorithm](), adapt=adapt))
    (x, y), _ = data()
    assert learner.adapt_weights(x[0], y[0]).shape == (8,)
    set_base(model, True, level)
    with pytest.raises(ValueError, match="call of `compile`.*trainable now.*inner/kernel"):
        learner.train_on_batch(*data())
    expected = after_a_step(
        compiled(ki.MetaLearner(NETWORKS[network](), ALGORITHMS[algorithm](), adapt=adapt))
    )
    result = after_a_step(compiled(learner))
    assert_equal(result, expected)
    assert np.abs(result[0] - NETWORKS[network]().get_weights()[0]).max() > 1e-4
    roles = {row.role for row in weight_rows(learner) if "inner" in row.owner}
    assert roles == {ADAPTED if adapt is None else SHARED}


@pytest.mark.slow
def test_freezing_counts_from_compile_on():
    learner = compiled(ki.MetaLearner(nested(), imaml()))
    after_a_step(learner)
    set_base(learner.model, False)
    (x, y), _ = data()
    for use in (
        lambda: learner.train_on_batch(*data()),
        lambda: learner.fit(*data(), verbose=0),
        lambda: learner.test_on_batch(*data()),
        lambda: learner.adapt(x[0], y[0]),
        lambda: ki.evaluate(learner, [data()], num_tasks=3, verbose=0),
        lambda: learner.adapt_and_predict(x[0], y[0], x[0]),
    ):
        with pytest.raises(ValueError, match="call of `compile`.*frozen now.*inner/kernel"):
            use()
    set_base(learner.model, True)
    start = base_of(learner.model).get_weights()[0]
    after_a_step(learner)  # as it was, without `compile`
    trained_kernel = base_of(learner.model).get_weights()[0]
    assert np.abs(trained_kernel - start).max() > 1e-5
    set_base(learner.model, False)
    assert after_a_step(compiled(learner))[-1].shape == (8,)
    np.testing.assert_array_equal(base_of(learner.model).get_weights()[0], trained_kernel)
    assert {r.role for r in weight_rows(learner) if "inner" in r.owner} == {FIXED}


@pytest.mark.slow
def test_what_follows_is_saved(tmp_path):
    model = nested()
    set_base(model, False)
    learner = compiled(ki.MetaLearner(model, imaml(), adapt=lambda v: True))
    set_base(model, True)
    compiled(learner)
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.saving.load_model(tmp_path / "learner.keras")
    assert loaded_learner.parameters.size == learner.parameters.size == 17
    assert_equal(after_a_step(loaded_learner), after_a_step(learner))


def test_another_number_of_classes_after_unfreezing():
    head = ki.layers.TiedDense(3, name="head")
    base, _ = base_and_head()
    base.trainable = False
    learner = compiled(ki.MetaLearner(keras.Sequential([keras.Input((2,)), base, head]), imaml()))
    base.trainable = True
    two_way_learner = ki.with_classes(compiled(learner), 2)
    assert two_way_learner.parameters.size == 9 + 4 * 2


@pytest.mark.slow
def test_batch_normalization_that_was_unfrozen_is_refused_at_compile():
    block = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(name="culprit")])
    model = keras.Sequential([keras.Input((2,)), block, dense(2, "head", 2)])
    block.trainable = False
    learner = compiled(ki.MetaLearner(model, imaml()))
    block.trainable = True
    with pytest.raises(ValueError, match="culprit'.*TaskBatchNormalization"):
        compiled(learner)
    block.trainable = False
    after_a_step(compiled(learner))


@pytest.mark.parametrize(
    "algorithm",
    [
        lambda: ki.MAML(ki.inner.GradientDescent(2, ki.LearningRate(0.1))),
        lambda: ki.IMAML(ki.ProximalStrength(1.0, per="weight"), inner=INNER),
        lambda: ki.SelfTraining(ki.IMAML(ki.ProximalStrength(1.0, per="layer"), inner=INNER)),
    ],
)
def test_numbers_for_single_weights_cannot_follow(algorithm):
    model = nested()
    set_base(model, False)
    learner = ki.MetaLearner(model, algorithm())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile("sgd", loss)
    set_base(model, True)
    with pytest.raises(ValueError, match="per='model', or another learner.*base.*head"):
        learner.compile("sgd", loss)
    set_base(model, False)
    learner.compile("sgd", loss)
    assert learner.parameters.size == 8


@pytest.mark.slow
def test_a_learned_loss_follows():
    base, head = base_and_head()
    model = keras.Sequential([keras.Input((2,)), base, head])
    base.trainable = False
    learned = ki.LearnedLoss(layers.Dense(2))
    learner = compiled(ki.MetaLearner(model, imaml(), learned_loss=learned))
    base.trainable = True
    start = base.get_weights()[0]
    compiled(learner).train_on_batch(*data())
    assert learner.parameters.size == 17 and np.abs(base.get_weights()[0] - start).max() > 1e-6


def test_a_weight_made_to_be_frozen_is_refused_when_it_is_unfrozen():
    """TensorFlow does not differentiate for it; Keras' own `fit` leaves it as it is."""

    class Shift(layers.Layer):
        def build(self, shape):
            self.shift = self.add_weight((shape[-1],), "ones", trainable=False, name="shift")

        def call(self, x):
            return x + self.shift

    layer = Shift(name="layer")
    model = keras.Sequential([keras.Input((2,)), layer, dense(2, "head", 2)])
    learner = compiled(ki.MetaLearner(model, imaml()))
    layer.shift.trainable = True
    with pytest.raises(ValueError, match="made with trainable=False.*add_weight.*layer/shift"):
        compiled(learner)
    with pytest.raises(ValueError, match="made with trainable=False"):
        ki.MetaLearner(model, imaml())
