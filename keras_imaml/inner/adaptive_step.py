"""Gradient descent that finds its own step size, for each task and anew in every step."""

import tensorflow as tf

from keras_imaml._utils.vectors import dot
from keras_imaml.inner.descent import Rule
from keras_imaml.objectives.inner_problem import InnerProblem

_FIRST_SHARE = 1e-3  # of the length of theta that the first step moves, to measure curvature
_TINY = 1e-24  # squared lengths below it count as this; float32 has no smaller useful ones


def adaptive_rule(problem: InnerProblem) -> Rule:
    """Gradient descent whose step size follows the curvature along the path.

    `L_k = ||g_k - g_{k-1}|| / ||phi_k - phi_{k-1}||` measures the curvature from gradients that
    are there anyway. The step size grows by a bounded factor where L is small, and shrinks at once
    where it is large. No evaluation is added, nothing is tuned, and on convex losses the method
    provably converges.

    The first step is short, since nothing is known yet. The second takes `1 / (sqrt(2) L)`, which
    is safe for the measured curvature. No step is longer than `1 / lambda`.

    Args:
        problem: The inner problem.

    References:
        Malitsky and Mishchenko: Adaptive Proximal Gradient Method for Convex Optimization,
        NeurIPS 2024, algorithm 1.
    """
    start = problem.start()
    longest = 1 / tf.maximum(tf.reduce_max(problem.strength), 1e-12)

    def update(
        step: tf.Tensor,
        gradient: tf.Tensor,
        last_gradient: tf.Tensor,
        last_change: tf.Tensor,
        last_rate: tf.Tensor,
        last_growth: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        first, second = tf.equal(step, 0), tf.equal(step, 1)
        # Roots of zero have no derivative, and MAML differentiates the path.
        moved = _squared(last_change)
        curvature = tf.sqrt(tf.maximum(_squared(gradient - last_gradient) / moved, _TINY))
        least = 1 / (tf.sqrt(tf.constant(2.0, gradient.dtype)) * curvature)
        excess = 2 * tf.square(last_rate * curvature) - 1
        shrunk = last_rate / tf.sqrt(tf.where(excess > 0, excess, tf.ones_like(excess)))
        grown = last_rate * tf.sqrt(2 / 3 + last_growth)
        rate = tf.where(excess > 0, tf.minimum(shrunk, grown), grown)
        probing = _FIRST_SHARE * tf.sqrt((_squared(start) + 1e-6) / _squared(gradient))
        rate = tf.where(first, probing, tf.where(second, least, rate))
        rate = tf.minimum(rate, longest)
        # The first step was short by choice: its ratio to the second says nothing.
        begin = tf.fill(tf.shape(rate), tf.constant(1 / 3, rate.dtype))
        growth = tf.where(first | second, begin, tf.math.divide_no_nan(rate, last_rate))
        change = -rate[:, None] * gradient
        return change, gradient, change, rate, growth

    vectors, scalars = tf.zeros_like(start), tf.zeros_like(start[:, 0])
    return Rule(update, (vectors, vectors, scalars, scalars))


def _squared(vectors: tf.Tensor) -> tf.Tensor:
    """Squared length, never zero."""
    return tf.maximum(dot(vectors, vectors), _TINY)
