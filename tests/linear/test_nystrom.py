"""Nystrom: exact at the rank of the curvature, and honest below it."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.linear import Dual, Nystrom, Status
from tests.linear.systems import (
    RANK,
    SIZE,
    STRENGTH,
    dense,
    of_images,
    of_low_rank,
    products,
    residuals,
)


def solve(solver, product, rhs, strength=STRENGTH):
    return solver.solve(product, tf.constant(rhs), lambda r: r / strength)


def test_is_exact_at_the_rank_of_gauss_newton():
    linearize, rhs = of_images("float64")
    product = linearize()
    rank = 6 * 2  # support examples x (classes - 1)
    exact = Dual().solve(product, rhs).solution
    result = solve(Nystrom(rank=rank), product, rhs, 0.5)
    np.testing.assert_allclose(result.solution, exact, atol=1e-8)
    coarse = solve(Nystrom(rank=rank // 3), product, rhs, 0.5)
    assert np.all(coarse.residual.numpy() > 1e-3)
    assert np.all(coarse.status.numpy() == Status.MAX_STEPS)


@pytest.mark.parametrize("rank", [1, RANK - 1, RANK, SIZE, 100])
def test_residual_is_true_at_every_rank(rank):
    product, matrices, rhs = of_low_rank()
    result = solve(Nystrom(rank=rank), product, rhs)
    expected = residuals(matrices, rhs, result.solution)
    np.testing.assert_allclose(result.residual, expected, rtol=1e-8, atol=1e-14)
    assert np.all((result.residual.numpy() < 1e-12) == (rank >= RANK))
    # No more probes than there are dimensions, and one product for the residual.
    assert result.steps.numpy().tolist() == [min(rank, SIZE) + 1] * 3


def test_equals_the_formula_in_numpy_below_the_rank():
    product, matrices, rhs = of_low_rank()
    result = solve(Nystrom(rank=2, seed=3), product, rhs)
    probes = np.linalg.qr(tf.random.stateless_normal([SIZE, 2], [3, 0], dtype=tf.float64))[0]
    for task, matrix in enumerate(matrices):
        images = (matrix / STRENGTH - np.eye(SIZE)) @ probes
        low = images @ np.linalg.pinv(probes.T @ images) @ images.T
        expected = np.linalg.solve(STRENGTH * (np.eye(SIZE) + low), rhs[task])
        np.testing.assert_allclose(result.solution[task], expected, rtol=1e-8, atol=1e-12)


def test_a_preconditioner_for_each_weight_is_exact_too():
    rng = np.random.default_rng(3)
    factor, diagonal = rng.normal(size=(2, 3, 8)), np.geomspace(0.1, 10, 8)
    matrices = np.einsum("toi,toj->tij", factor, factor) + np.diag(diagonal)
    rhs = rng.normal(size=(2, 8))
    result = solve(Nystrom(rank=3), products(matrices), rhs, diagonal)
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=1e-9, atol=1e-12)


def test_the_tolerance_decides_for_each_task():
    _, matrices, rhs = of_low_rank(tasks=2)
    matrices[0] = STRENGTH * np.eye(SIZE) + np.ones([SIZE, SIZE])  # of rank one
    result = solve(Nystrom(rank=1, tolerance=1e-6), products(matrices), rhs)
    assert result.status.numpy().tolist() == [Status.CONVERGED, Status.MAX_STEPS]
    loose = solve(Nystrom(rank=1, tolerance=1.0), products(matrices), rhs)
    assert loose.status.numpy().tolist() == [Status.CONVERGED, Status.CONVERGED]


def test_the_seed_draws_the_probes():
    product, _, rhs = of_low_rank()
    first, second, third = (solve(Nystrom(1, seed), product, rhs).solution for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


@pytest.mark.parametrize(
    "arguments", [{"rank": 0}, {"rank": 2.5}, {"seed": -1}, {"tolerance": -1}], ids=str
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        Nystrom(**arguments)
