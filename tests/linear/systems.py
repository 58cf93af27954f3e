"""Systems with dense matrices, so that NumPy knows their solutions."""

import numpy as np
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.curvature import GaussNewton
from keras_imaml.linear.operators import GaussNewtonProduct
from tests import problems

STRENGTH = 2.0
RANK = 4
SIZE = 9


def systems(tasks=3, size=12, condition=50.0, dtype="float64", seed=0):
    """Symmetric positive definite matrices with a known spectrum, and right-hand sides."""
    rng = np.random.default_rng(seed)
    matrices = []
    for _ in range(tasks):
        q, _ = np.linalg.qr(rng.normal(size=(size, size)))
        matrices.append(q @ np.diag(np.geomspace(1.0, condition, size)) @ q.T)
    return np.stack(matrices).astype(dtype), rng.normal(size=(tasks, size)).astype(dtype)


def products(matrices):
    return lambda v: tf.einsum("tij,tj->ti", tf.constant(matrices, v.dtype), v)


def of_low_rank(tasks=3, rank=RANK, size=SIZE, strength=STRENGTH, dtype="float64", broken=None):
    """`J' S J + strength I` as a Gauss-Newton product, as a matrix, and right-hand sides.

    `broken` is the number of a task with a Jacobian of NaN.
    """
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(tasks, rank, size)) / np.sqrt(size)
    bend = rng.uniform(0.5, 2.0, size=(tasks, rank))
    matrices = np.einsum("toi,to,toj->tij", jacobian, bend, jacobian) + strength * np.eye(size)
    rhs = rng.normal(size=(tasks, size)).astype(dtype)
    if broken is not None:
        jacobian[broken] = np.nan
    j, s = tf.constant(jacobian, dtype), tf.constant(bend, dtype)
    product = GaussNewtonProduct(
        push_forward=lambda v: tf.einsum("toi,ti->to", j, v),
        loss_hessian=lambda z: s * z,
        pull_back=lambda u: tf.einsum("toi,to->ti", j, u),
        strength=tf.constant(strength, dtype),
    )
    return product, matrices, rhs


def of_images(dtype):
    """The Gauss-Newton system of a small convolutional network, and right-hand sides."""
    problem = problems.Images(dtype=dtype)
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(0.5)
    algorithm.prepare(objective.parameters)
    phi = algorithm.inner_problem(objective).start()
    rhs = tf.constant(np.random.default_rng(0).normal(size=phi.shape), dtype)

    def product():
        return GaussNewton().linearize(lambda: algorithm.inner_problem(objective), phi, ()).product

    return product, rhs


def dense(matrices, rhs):
    """The solutions, in double precision."""
    return np.linalg.solve(matrices.astype("float64"), rhs.astype("float64")[..., None])[..., 0]


def residuals(matrices, rhs, solution):
    """`||rhs - A solution|| / ||rhs||`, task by task, in double precision."""
    left = rhs - np.einsum("tij,tj->ti", matrices.astype("float64"), solution)
    return np.linalg.norm(left, axis=1) / np.linalg.norm(rhs.astype("float64"), axis=1)
