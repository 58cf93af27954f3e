"""Conjugate gradient against dense algebra, and what it does when things go wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml import linear
from keras_imaml.linear import Status


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


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-10), ("float32", 2e-4)])
def test_equals_the_dense_solution(run, dtype, accuracy):
    matrices, rhs = systems(dtype=dtype)
    solver = linear.ConjugateGradient(max_steps=40, tolerance=1e-12 if dtype == "float64" else 1e-6)
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    expected = np.linalg.solve(matrices.astype("float64"), rhs[..., None])[..., 0]
    np.testing.assert_allclose(result.solution, expected, rtol=accuracy, atol=accuracy)
    assert np.all(result.status.numpy() == Status.CONVERGED)


def test_steps_equal_distinct_eigenvalues():
    matrices = np.stack([np.diag([2.0] * 6 + [5.0] * 6), np.diag([3.0] * 12)])
    result = linear.ConjugateGradient(max_steps=10).solve(
        products(matrices), tf.ones([2, 12], tf.float64)
    )
    assert result.steps.numpy().tolist() == [2, 1]


def test_the_residual_is_true(run):
    matrices, rhs = systems(condition=1e4)
    solver = linear.ConjugateGradient(max_steps=7)
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    left = rhs - np.einsum("tij,tj->ti", matrices, result.solution)
    expected = np.linalg.norm(left, axis=1) / np.linalg.norm(rhs, axis=1)
    np.testing.assert_allclose(result.residual, expected, rtol=1e-8)
    assert np.all(result.status.numpy() == Status.MAX_STEPS)
    assert np.all(result.residual.numpy() <= 1.0)


def test_drift_is_refreshed_in_float32():
    matrices, rhs = systems(size=60, condition=1e4, dtype="float32")
    result = linear.ConjugateGradient(max_steps=400, tolerance=1e-5).solve(
        products(matrices), tf.constant(rhs)
    )
    left = rhs - np.einsum("tij,tj->ti", matrices.astype("float64"), result.solution)
    true = np.linalg.norm(left, axis=1) / np.linalg.norm(rhs, axis=1)
    np.testing.assert_allclose(result.residual, true, atol=2e-4)


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e18])
def test_scale_of_the_right_hand_side_does_not_matter(size):
    matrices, rhs = systems(dtype="float32")
    solver = linear.ConjugateGradient(max_steps=12)
    plain = solver.solve(products(matrices), tf.constant(rhs)).solution
    scaled = solver.solve(products(matrices), tf.constant(rhs * np.float32(size))).solution
    np.testing.assert_allclose(scaled / np.float32(size), plain, rtol=2e-3, atol=1e-4)


def test_zero_right_hand_side_is_solved_by_zero(run):
    matrices, rhs = systems()
    rhs[1] = 0
    solver = linear.ConjugateGradient(max_steps=30)
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    assert np.all(result.solution[1].numpy() == 0)
    assert result.steps[1] == 0
    assert result.status[1] == Status.CONVERGED


def test_negative_curvature_keeps_the_best_iterate(run):
    matrices = np.stack([np.diag([-0.5, 1.0, 2.0, 3.0])] * 2)
    rhs = np.array([[0.1, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    solver = linear.ConjugateGradient(max_steps=10)
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    assert np.all(result.status.numpy() == Status.NEGATIVE_CURVATURE)
    assert result.residual[0] < 1
    # Negative at the first step: the right-hand side itself, the first-order direction.
    np.testing.assert_allclose(result.solution[1], rhs[1])
    np.testing.assert_allclose(result.residual[1], 1.5)


def test_one_bad_task_leaves_the_others_untouched(run):
    matrices, rhs = systems(tasks=8)
    solver = linear.ConjugateGradient(max_steps=6)
    clean = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    bad = matrices.copy()
    bad[2] = np.nan
    bad[5] = -bad[5]
    result = run(lambda b: solver.solve(products(bad), b), tf.constant(rhs))
    good = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(result.solution.numpy()[good], clean.solution.numpy()[good])
    assert result.status[2] == Status.NON_FINITE
    assert result.status[5] == Status.NEGATIVE_CURVATURE
    assert np.all(np.isfinite(result.solution))


def test_a_nan_right_hand_side_is_reported():
    matrices, rhs = systems()
    rhs[0, 3] = np.nan
    result = linear.ConjugateGradient(max_steps=30).solve(products(matrices), tf.constant(rhs))
    assert result.status.numpy().tolist() == [Status.NON_FINITE] + [Status.CONVERGED] * 2
    assert np.all(result.solution[0].numpy() == 0)


def test_a_good_preconditioner_saves_steps():
    rng = np.random.default_rng(1)
    diagonal = np.geomspace(1, 1e6, 30)
    matrix = np.diag(diagonal) + 0.1 * np.eye(30)
    rhs = tf.constant(rng.normal(size=(1, 30)))
    solver = linear.ConjugateGradient(max_steps=200, tolerance=1e-8)
    plain = solver.solve(products(matrix[None]), rhs)
    scaled = solver.solve(products(matrix[None]), rhs, preconditioner=lambda r: r / diagonal)
    assert int(scaled.steps[0]) < int(plain.steps[0]) / 3


def test_statuses_advise():
    for status in Status:
        assert len(status.advice) > 20


@pytest.mark.parametrize(
    "arguments", [{"max_steps": 0}, {"max_steps": 2.5}, {"tolerance": -1}, {"refresh": 0}]
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        linear.ConjugateGradient(**arguments)


def test_configuration_round_trip():
    solver = linear.ConjugateGradient(max_steps=9, tolerance=1e-3)
    config = keras.saving.serialize_keras_object(solver)
    assert keras.saving.deserialize_keras_object(config) == solver
