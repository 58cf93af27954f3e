"""The dual solver: exact on Gauss-Newton systems, and nothing else accepted."""

import types

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._utils.vectors import norm
from keras_imaml.linear import ConjugateGradient, Dual, Status
from tests import problems
from tests.linear.systems import dense, of_images, of_low_rank, residuals


@pytest.mark.parametrize(
    ("dtype", "accuracy"),
    [("float64", 1e-10), pytest.param("float32", 1e-6, marks=pytest.mark.slow)],
)
def test_equals_conjugate_gradient_run_to_convergence(dtype, accuracy):
    linearize, rhs = of_images(dtype)
    tolerance = 1e-14 if dtype == "float64" else 1e-7

    def difference():
        system = linearize()
        reference = ConjugateGradient(max_steps=100, tolerance=tolerance)
        result, expected = Dual().solve(system, rhs), reference.solve(system, rhs)
        return norm(result.solution - expected.solution) / norm(expected.solution), result.residual

    relative, residual = tf.function(difference, autograph=False)()
    assert np.max(relative) < accuracy
    assert np.max(residual) < 10 * accuracy


@pytest.mark.parametrize(("rank", "size"), [(1, 9), (4, 9), (9, 4)])
def test_outputs_may_be_fewer_or_more_than_weights(rank, size):
    product, matrices, rhs = of_low_rank(rank=rank, size=size)
    result = Dual().solve(product, tf.constant(rhs))
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=1e-10, atol=1e-12)
    assert result.steps.numpy().tolist() == [rank + 1] * 3


def test_a_strength_for_each_weight():
    strength = np.geomspace(0.1, 10, 9)
    product, matrices, rhs = of_low_rank(strength=strength)
    result = Dual().solve(product, tf.constant(rhs))
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=1e-9)


def test_the_tolerance_decides_for_each_task():
    product, matrices, rhs = of_low_rank(tasks=2, strength=1e-4, dtype="float32")
    result = Dual(tolerance=0.0).solve(product, tf.constant(rhs))
    assert np.all(result.status.numpy() == Status.MAX_STEPS)  # rounding is not zero
    np.testing.assert_allclose(
        result.residual, residuals(matrices, rhs, result.solution), rtol=0.5, atol=1e-6
    )
    middle = float(np.mean(result.residual))
    result = Dual(tolerance=middle).solve(product, tf.constant(rhs))
    assert sorted(result.status.numpy()) == [Status.CONVERGED, Status.MAX_STEPS]


def test_a_hessian_is_refused_by_name():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(linear=Dual(), curvature="hessian")
    algorithm.prepare(objective.parameters)
    with pytest.raises(ValueError, match="curvature='gauss_newton'.*Received"):
        algorithm.meta_gradient(objective, problem.model.trainable_variables)


def test_penalties_of_the_weights_are_refused():
    product, _, rhs = of_low_rank()
    penalized = type(product)(**{**vars(product), "penalty": tf.identity})
    with pytest.raises(ValueError, match="without weight regularizers"):
        Dual().solve(penalized, tf.constant(rhs))


def test_operators_are_known_by_their_factors_and_not_by_their_class():
    product, _, rhs = of_low_rank()

    class Product(types.SimpleNamespace):
        def __call__(self, v):
            return product(v)

    names = ("push_forward", "loss_hessian", "pull_back", "strength", "penalized")
    system = Product(**{name: getattr(product, name) for name in names})
    for name, value in Dual().solve(product, tf.constant(rhs))._asdict().items():
        np.testing.assert_array_equal(getattr(Dual().solve(system, tf.constant(rhs)), name), value)
    del system.pull_back
    with pytest.raises(ValueError, match="needs the factors.*Received.*Product"):
        Dual().solve(system, tf.constant(rhs))


@pytest.mark.parametrize("tolerance", [-1, float("nan"), "small"])
def test_settings_are_checked(tolerance):
    with pytest.raises(ValueError, match="Invalid value for `tolerance`.*Received"):
        Dual(tolerance=tolerance)
