"""Functions whose gradients are of the user, and end or mislead a second derivative."""

import tensorflow as tf


@tf.custom_gradient
def stopped_slope(x):
    return 2 * x, lambda dy: 2 * tf.stop_gradient(dy)


@tf.custom_gradient
def straight_slope(x):
    return tf.sin(3 * x), lambda dy: 3 * dy * tf.stop_gradient(tf.cos(3 * x))


@tf.custom_gradient
def rounded_value(x):
    return tf.round(10 * x), lambda dy: 10 * dy
