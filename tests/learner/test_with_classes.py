"""A learner for another number of classes."""

import keras
import numpy as np
import pytest

import keras_imaml as ki
from tests import learners


def learner(tied_head=True, **settings):
    model = learners.small(tied_head=tied_head)
    return learners.compiled(model, learners.imaml(**settings))


@pytest.mark.slow
def test_it_has_the_same_weights_and_adapts():
    three_way_learner = learner(
        proximal_strength=ki.ProximalStrength(0.5, per="layer", learned=True)
    )
    three_way_learner.fit(learners.dataset(learners.images()), steps_per_epoch=2, verbose=0)
    five_way_learner = ki.with_classes(three_way_learner, 5)
    for weight, wider_weight in zip(
        three_way_learner.weights, five_way_learner.weights, strict=True
    ):
        if weight.shape == wider_weight.shape:
            np.testing.assert_array_equal(weight, wider_weight)
        else:
            assert (weight.shape[-1], wider_weight.shape[-1]) == (3, 5)
    (x, y), (query_x, _) = learners.images(tasks=1, way=5)
    assert five_way_learner.adapt(x[0], y[0]).predict(query_x[0], verbose=0).shape == (10, 5)


def test_back_again_it_is_the_same_learner():
    three_way_learner = learner()
    restored_learner = ki.with_classes(ki.with_classes(three_way_learner, 7), 3)
    (x, y), (query_x, _) = learners.images(tasks=1)
    expected, predictions = (
        keras.ops.convert_to_numpy(source.adapt_and_predict(x[0], y[0], query_x[0]))
        for source in (three_way_learner, restored_learner)
    )
    np.testing.assert_allclose(expected, predictions, rtol=1e-5, atol=1e-6)


class Tempered(keras.losses.Loss):
    """A cross-entropy with a temperature that is learned."""

    def __init__(self, name="tempered", reduction="sum_over_batch_size"):
        super().__init__(name=name, reduction=reduction)
        self.temperature = keras.Variable(2.0, name="temperature")

    def call(self, y_true, y_pred):
        logits = y_pred / self.temperature
        return keras.losses.sparse_categorical_crossentropy(y_true, logits, from_logits=True)


@pytest.mark.slow
def test_variables_of_the_inner_loss_are_copied_and_train_on():
    keras.saving.register_keras_serializable("tests")(Tempered)
    three = ki.MetaLearner(learners.small(tied_head=True), learners.imaml())
    three.compile(keras.optimizers.SGD(0.5), loss=learners.cross_entropy(), inner_loss=Tempered())
    three.inner_loss.temperature.assign(3.0)
    five = ki.with_classes(three, 5)
    assert five.inner_loss is not three.inner_loss
    assert float(five.inner_loss.temperature) == 3.0
    five.fit(learners.dataset(learners.images(way=5)), steps_per_epoch=1, verbose=0)
    assert float(five.inner_loss.temperature) != 3.0
    assert float(three.inner_loss.temperature) == 3.0


def test_other_heads_and_other_meta_parameters_are_refused():
    with pytest.raises(ValueError, match=r"Expected a network with one.*Received: 0"):
        ki.with_classes(learner(tied_head=False), 5)
    per_weight = learner(proximal_strength=ki.ProximalStrength(0.5, per="weight", learned=True))
    with pytest.raises(ValueError, match=r"do not depend on the number of classes"):
        ki.with_classes(per_weight, 5)
    with pytest.raises(ValueError, match="Invalid value for `classes`"):
        ki.with_classes(learner(), 1)
