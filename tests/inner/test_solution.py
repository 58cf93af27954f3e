"""What a solution cost."""

import tensorflow as tf

from keras_imaml.inner.solution import count_with_values


def test_three_values_cost_a_gradient_and_less_than_three_as_much():
    gradients = count_with_values(tf.fill([6], 5), tf.range(6))
    assert gradients.dtype == tf.int32
    assert gradients.numpy().tolist() == [5, 6, 6, 6, 7, 7]
