"""All inner solvers, linear solvers and curvatures against the closed form of a quadratic."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.curvature import GaussNewton
from keras_imaml.linear import Status
from keras_imaml.vectors import norm
from tests import problems

INNER = {
    "gradient_descent": ki.inner.GradientDescent(steps=3000, learning_rate=0.1, tolerance=1e-12),
    "heavy_ball": ki.inner.GradientDescent(
        steps=3000, learning_rate=0.05, momentum=0.8, tolerance=1e-12
    ),
    "nesterov": ki.inner.GradientDescent(
        steps=3000, learning_rate=0.1, momentum=0.8, nesterov=True, tolerance=1e-12
    ),
    "newton_cg": ki.inner.NewtonCG(steps=40, linear_steps=10, damping=0.0, tolerance=1e-12),
    "lbfgs": ki.inner.LBFGS(steps=200, tolerance=1e-11),
    "adam": ki.inner.Adam(steps=6000, learning_rate=0.01, tolerance=1e-9),
}
LINEAR = {
    "conjugate_gradient": ki.linear.ConjugateGradient(max_steps=100, tolerance=1e-13),
    "neumann": ki.linear.Neumann(max_steps=3000, tolerance=1e-12),
    "nystrom": ki.linear.Nystrom(rank=6),
    "dual": ki.linear.Dual(),
}


PAIRS = [
    (linear, curvature)
    for linear in LINEAR
    for curvature in ("hessian", "gauss_newton")
    if (linear, curvature) != ("dual", "hessian")
]


@pytest.mark.parametrize(("linear", "curvature"), PAIRS)
@pytest.mark.parametrize("inner", INNER)
def test_meta_gradient_equals_the_closed_form(inner, linear, curvature):
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    strength = ki.ProximalStrength(0.7, learned=True)
    algorithm = ki.IMAML(strength, INNER[inner], LINEAR[linear], curvature)
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
    meta = tf.function(lambda: algorithm.meta_gradient(objective, variables), autograph=False)()
    for_theta, for_strength = problem.meta_gradients(problem.theta, 0.7)
    accuracy = 1e-5 if inner == "adam" else 1e-7
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), for_theta, rtol=accuracy, atol=1e-7)
    expected = 0.7 * for_strength.sum()
    np.testing.assert_allclose(meta.gradients[1], expected, rtol=accuracy, atol=1e-7)


def gauss_newton_system(dtype):
    """Linearises the inner problem of a small convolutional network; and right-hand sides."""
    problem = problems.Images(dtype=dtype)
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(0.5)
    algorithm.prepare(objective.parameters)
    phi = algorithm.inner_problem(objective).start()
    rhs = tf.constant(np.random.default_rng(0).normal(size=phi.shape), dtype)

    def product():
        return GaussNewton().linearize(lambda: algorithm.inner_problem(objective), phi, ()).product

    return product, rhs


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-10), ("float32", 1e-6)])
def test_the_dual_equals_conjugate_gradient_run_to_convergence(run, dtype, accuracy):
    product, rhs = gauss_newton_system(dtype)
    tolerance = 1e-14 if dtype == "float64" else 1e-7

    def difference():
        system = product()
        reference = ki.linear.ConjugateGradient(max_steps=100, tolerance=tolerance)
        ours, theirs = ki.linear.Dual().solve(system, rhs), reference.solve(system, rhs)
        return norm(ours.solution - theirs.solution) / norm(theirs.solution), ours.residual

    relative, residual = run(difference)
    assert np.max(relative) < accuracy
    assert np.max(residual) < 10 * accuracy


def test_nystrom_is_exact_at_the_rank_of_gauss_newton():
    linearize, rhs = gauss_newton_system("float64")
    product = linearize()
    rank = 6 * 2  # support examples x (classes - 1)
    exact = ki.linear.Dual().solve(product, rhs).solution
    result = ki.linear.Nystrom(rank=rank).solve(product, rhs, lambda r: r / 0.5)
    np.testing.assert_allclose(result.solution, exact, atol=1e-8)
    coarse = ki.linear.Nystrom(rank=rank // 3).solve(product, rhs, lambda r: r / 0.5)
    assert np.all(coarse.residual.numpy() > 1e-3)
    assert np.all(coarse.status.numpy() == Status.MAX_STEPS)


def test_the_dual_refuses_a_hessian_by_name():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(linear=ki.linear.Dual(), curvature="hessian")
    algorithm.prepare(objective.parameters)
    with pytest.raises(ValueError, match="curvature='gauss_newton'.*Received"):
        algorithm.meta_gradient(objective, problem.model.trainable_variables)


def test_neumann_that_diverges_says_so_and_falls_back():
    matrix = tf.constant(np.diag([1.0, 2.0, 50.0])[None])
    rhs = tf.ones([1, 3], tf.float64)
    result = ki.linear.Neumann(max_steps=30, scale=2.0).solve(
        lambda v: tf.einsum("tij,tj->ti", matrix, v), rhs
    )
    assert result.status[0] == Status.DIVERGED
    np.testing.assert_allclose(result.solution, rhs)


@pytest.mark.parametrize("inner", INNER)
def test_inner_solvers_stop_each_task_by_itself(inner):
    problem = problems.LinearRegression(tasks=4)
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(0.7, INNER[inner])
    algorithm.prepare(objective.parameters)
    data = problem.data.support_x.copy()
    data[1] *= 1e-6  # nothing to learn: theta is the solution at once
    easy = problems.objective_of(
        problem, tensors=problem.tensors._replace(support_x=tf.constant(data))
    )
    # A task that has nothing to do stays where it is, whatever the others need.
    solution = algorithm.adapt(easy)
    np.testing.assert_allclose(solution.phi[1], problem.theta, atol=1e-5)
    hard = algorithm.adapt(objective)
    np.testing.assert_allclose(
        solution.phi.numpy()[[0, 2, 3]], hard.phi.numpy()[[0, 2, 3]], atol=1e-7
    )
    assert np.all(solution.gradients.numpy() > 0)
