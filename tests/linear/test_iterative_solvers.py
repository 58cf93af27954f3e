"""The residuals of a solver's steps are those of the solutions after so many steps."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.linear import ConjugateGradient, Dual, Neumann, Nystrom
from keras_imaml.linear.operators import HessianProduct
from keras_imaml.linear.solution import IterativeSolver
from tests.linear.systems import products, systems

STEPS = 6
SOLVERS = {
    "conjugate gradient": ConjugateGradient(),
    "conjugate gradient, first-order start": ConjugateGradient(start="first_order"),
    "conjugate gradient, refreshed": ConjugateGradient(max_steps=1, refresh=2),
    "Neumann": Neumann(scale=40.0),
    "Neumann, estimated scale": Neumann(power_steps=3),
    "Neumann, diverging": Neumann(scale=20.0),
}


def indefinite_systems():
    """One task converges, one has negative curvature, and one has nothing to solve."""
    matrices, rhs = systems(size=5)
    matrices[0] = 3 * np.eye(5)
    matrices[1] -= 3 * np.eye(5)
    rhs[2] = 0
    return matrices, rhs


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("make", [systems, indefinite_systems])
def test_each_residual_is_that_of_a_shorter_solve(name, make, run):
    matrices, rhs = make()
    operator, solver = HessianProduct(products(matrices)), SOLVERS[name]
    precondition = lambda r: r / 1.5  # noqa: E731
    result = run(lambda b: solver.residuals(operator, b, precondition, STEPS), tf.constant(rhs))
    assert result.shape == (len(rhs), STEPS)
    for steps, residuals in enumerate(np.transpose(result), start=1):
        shorter_solver = dataclasses.replace(solver, max_steps=steps)
        solution = shorter_solver.solve(operator, tf.constant(rhs), precondition)
        np.testing.assert_allclose(residuals, solution.residual, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("solver", [ConjugateGradient(), Neumann()])
def test_solvers_by_steps_say_so(solver):
    assert isinstance(solver, IterativeSolver)


@pytest.mark.parametrize("solver", [Dual(), Nystrom()])
def test_other_solvers_do_not(solver):
    assert not isinstance(solver, IterativeSolver)
