"""A head with the same meta-learned weights for every class."""

import keras
import numpy as np
import pytest

import keras_imaml as ki
from tests import learners


def tied(**settings):
    model = learners.small(tied_head=True)
    return learners.compiled(model, learners.imaml(), rate=0.1, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("initializer", ["zeros", "glorot_uniform"])
def test_units_stay_the_same_while_they_learn(initializer):
    inputs = keras.Input([4])
    layer = ki.layers.TiedDense(3, kernel_initializer=initializer, name="head")
    learner = learners.compiled(keras.Model(inputs, layer(inputs)), loss="mse", metrics=())
    before = layer.kernel.numpy()
    rng = np.random.default_rng(0)
    draw = lambda: (rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 3)))  # noqa: E731
    learner.fit(learners.dataset((draw(), draw())), steps_per_epoch=2, verbose=0)
    for weight in (layer.kernel, layer.bias):
        np.testing.assert_allclose(weight, weight.numpy()[..., :1] + np.zeros(weight.shape))
    assert np.abs(layer.kernel.numpy() - before).max() > 1e-3


def test_an_adapted_model_has_a_stock_head_of_different_units():
    learner = tied()
    (x, y), _ = learners.images(tasks=1)
    model = learner.adapt(x[0], y[0])
    head = model.get_layer("head")
    assert type(head) is keras.layers.Dense
    assert head.kernel_constraint is None and head.kernel.constraint is None
    assert np.ptp(head.kernel.numpy(), axis=-1).max() > 1e-3
    assert isinstance(learner.model.get_layer("head"), ki.layers.TiedDense)


@pytest.mark.slow
def test_a_learner_with_it_can_be_saved(tmp_path):
    learner = tied()
    learner.fit(learners.dataset(learners.images()), steps_per_epoch=1, verbose=0)
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.models.load_model(tmp_path / "learner.keras")
    for weight, loaded_weight in zip(learner.weights, loaded_learner.weights, strict=True):
        np.testing.assert_array_equal(weight, loaded_weight)


def test_a_constraint_beside_its_own_is_refused():
    with pytest.raises(ValueError, match=r"Invalid value for `kernel_constraint`.*Received"):
        ki.layers.TiedDense(3, kernel_constraint="non_neg")
