"""How residuals fall with the steps of a solver."""

import numpy as np
import tensorflow as tf

from keras_imaml.callbacks.residual_curve import residual_curve, step_counts
from keras_imaml.linear import ConjugateGradient, Dual
from tests.linear.systems import products, residuals, systems


def test_the_step_counts_of_a_curve_reach_twice_the_limit_of_the_solver():
    assert step_counts(ConjugateGradient(max_steps=5)) == [1, 5, 10]
    assert step_counts(ConjugateGradient(max_steps=1)) == [1, 2]
    assert step_counts(Dual()) == []


def test_a_curve_holds_the_residual_after_each_number_of_steps():
    matrices, rhs = systems(size=4)
    solver = ConjugateGradient(max_steps=9)
    curve = residual_curve(solver, products(matrices), tf.constant(rhs), None, [1, 3])
    for residual, steps in zip(curve, (1, 3), strict=True):
        solution = ConjugateGradient(steps).solve(products(matrices), tf.constant(rhs)).solution
        np.testing.assert_allclose(residual, residuals(matrices, rhs, solution), rtol=1e-9)
