"""Properties of the iterative solvers on random systems, up to a condition number of 1e8."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_imaml as ki
from keras_imaml.linear.solution import Status

SOLVERS = {
    "conjugate_gradient": lambda: ki.linear.ConjugateGradient(max_steps=30, tolerance=1e-8),
    "first_order_start": lambda: ki.linear.ConjugateGradient(
        max_steps=30, tolerance=1e-8, start="first_order"
    ),
    "neumann": lambda: ki.linear.Neumann(max_steps=30, tolerance=1e-8),
}


def system(seed, size, condition, negative, scale):
    """Three symmetric systems with eigenvalues spread over `condition`, some of them negative."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(3, size, size)))[0]
    values = np.exp(rng.uniform(-np.log(condition), 0.0, size=(3, size)))
    values[:, 0], values[:, -1] = 1.0, 1.0 / condition
    values[:, :negative] *= -1.0
    matrices = np.einsum("tij,tj,tkj->tik", basis, values, basis)
    return matrices, scale * rng.normal(size=(3, size))


def energy_error(matrices, rhs, x):
    """`||x - A^-1 b||_A`, as far as `A` can be solved with."""
    error = x - np.linalg.solve(matrices, rhs[..., None])[..., 0]
    return np.sqrt(np.abs(np.einsum("ti,tij,tj->t", error, matrices, error)))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SOLVERS)
def test_whatever_the_system_the_answer_is_finite_and_says_how_good_it_is(name, dtype):
    solver = SOLVERS[name]()
    solve = tf.function(
        lambda matrices, rhs: solver.solve(lambda v: tf.einsum("tij,tj->ti", matrices, v), rhs),
        reduce_retracing=True,
        autograph=False,
    )

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
    @hypothesis.given(
        seed=st.integers(0, 10**6),
        size=st.sampled_from([2, 5, 12]),
        condition=st.floats(1.0, 1e8),
        negative=st.integers(0, 2),
        scale=st.sampled_from([1e-20, 1.0, 1e15]),
    )
    def run(seed, size, condition, negative, scale):
        matrices, rhs = system(seed, size, condition, negative, scale)
        result = solve(tf.constant(matrices, dtype), tf.constant(rhs, dtype))
        solution = result.solution.numpy().astype("float64")
        assert np.isfinite(solution).all() and np.isfinite(result.residual).all()
        true = np.linalg.norm(rhs - np.einsum("tij,tj->ti", matrices, solution), axis=-1)
        true /= np.linalg.norm(rhs, axis=-1)
        rounding = 1e-3 if dtype == "float32" else 1e-9
        growth = np.linalg.norm(solution, axis=-1) / np.linalg.norm(rhs, axis=-1)
        np.testing.assert_allclose(result.residual, true, atol=rounding * (1 + growth.max()))
        status = result.status.numpy()
        if negative == 0:
            assert (status != int(Status.NEGATIVE_CURVATURE)).all() or dtype == "float32"
            if name == "neumann":  # residuals of conjugate gradient rise on the way
                assert (result.residual.numpy() <= 1 + rounding).all()
            elif dtype == "float64":  # closer to the solution than where it began
                start = rhs if name == "first_order_start" else 0 * rhs
                slack = rounding * np.linalg.norm(solution, axis=-1)
                ends = energy_error(matrices, rhs, solution)
                assert (ends <= 1.001 * energy_error(matrices, rhs, start) + slack).all()
        has_converged = status == int(Status.CONVERGED)
        attainable = 10 * rounding * (1 + growth)
        assert (true <= 1e-8 + attainable)[has_converged].all()

    run()
