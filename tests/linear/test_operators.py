"""Operators against dense matrices, and what they say of their structure."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.linear.operators import Damped, GaussNewtonProduct, HessianProduct

RANDOM = np.random.default_rng(3)
JACOBIAN = tf.constant(RANDOM.normal(size=[2, 3, 4]))  # 2 tasks, 3 outputs, 4 weights
LOSS_HESSIAN = tf.constant([[1.0, 2.0, 0.5], [3.0, 0.1, 1.0]], tf.float64)  # diagonals
PENALTY = tf.constant([0.2, 0.4, 0.6, 0.8], tf.float64)
V = tf.constant(RANDOM.normal(size=[2, 4]))


def gauss_newton(strength, penalty=None):
    return GaussNewtonProduct(
        push_forward=lambda v: tf.linalg.matvec(JACOBIAN, v),
        loss_hessian=lambda z: LOSS_HESSIAN * z,
        pull_back=lambda u: tf.linalg.matvec(JACOBIAN, u, transpose_a=True),
        strength=tf.constant(strength, tf.float64),
        penalty=penalty,
    )


@pytest.mark.parametrize("strength", [0.7, [0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("penalized", [False, True])
def test_gauss_newton_is_the_dense_matrix(strength, penalized):
    operator = gauss_newton(strength, (lambda v: PENALTY * v) if penalized else None)
    j = JACOBIAN.numpy()
    matrix = np.einsum("toi,to,toj->tij", j, LOSS_HESSIAN, j) + np.diag(np.full(4, strength))
    if penalized:
        matrix += np.diag(PENALTY)
    np.testing.assert_allclose(operator(V), np.einsum("tij,tj->ti", matrix, V), rtol=1e-12)
    assert operator.penalized is penalized
    assert operator.is_positive_definite is True


@pytest.mark.parametrize(
    ("operator", "definite"),
    [(gauss_newton(0.5), True), (HessianProduct(lambda v: -v), None), (lambda v: 2 * v, True)],
)
def test_damping_adds_a_multiple_and_keeps_the_structure(operator, definite):
    damped = Damped(operator, tf.constant([0.5, 2.0], tf.float64))
    np.testing.assert_allclose(damped(V), operator(V) + [[0.5], [2.0]] * V.numpy(), rtol=1e-12)
    assert damped.is_positive_definite is definite
