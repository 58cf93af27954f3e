"""What is known of a Keras loss by looking at it."""

import functools

import keras
import pytest

from keras_imaml._utils.keras_losses import has_class_numbers, loss_name, takes_logits
from tests import learners


def sparse_penalty(y, z):
    return keras.ops.mean(keras.ops.abs(y - z))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sparse_categorical_crossentropy", True),
        (learners.cross_entropy(), True),
        (keras.losses.sparse_categorical_crossentropy, True),
        ("mse", False),
        (["mse", learners.cross_entropy()], False),
        ({"color": learners.cross_entropy(), "size": "mse"}, True),
        ([None, "mse"], False),
        ("crossentropy", False),
        (keras.losses.SparseCategoricalCrossentropy(name="classes"), True),
        (keras.losses.MeanSquaredError(name="sparse"), False),
        (sparse_penalty, False),
        (functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True), True),
        (keras.losses.CategoricalGeneralizedCrossEntropy(q=0.5), True),
    ],
)
def test_which_losses_take_class_numbers(loss, expected):
    assert has_class_numbers(loss) is expected


@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error]
)
def test_a_loss_has_one_name_however_it_is_given(loss):
    assert loss_name(loss) == "mean_squared_error"


def test_which_losses_take_logits():
    assert takes_logits(keras.losses.BinaryCrossentropy(from_logits=True))
    assert not takes_logits(keras.losses.CategoricalCrossentropy())
    assert not takes_logits("sparse_categorical_crossentropy")
