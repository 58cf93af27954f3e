"""Conjugate gradient against dense algebra, and what it does when things go wrong."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml import linear
from keras_imaml.linear import Status
from keras_imaml.linear.operators import Damped, HessianProduct
from tests.linear.systems import dense, of_low_rank, products, residuals, systems


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-10), ("float32", 2e-4)])
def test_equals_the_dense_solution(run, dtype, accuracy):
    matrices, rhs = systems(dtype=dtype)
    solver = linear.ConjugateGradient(max_steps=40, tolerance=1e-12 if dtype == "float64" else 1e-6)
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=accuracy, atol=accuracy)
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


@pytest.mark.parametrize(
    ("max_steps", "refresh", "product_count", "graph_count"),
    [(5, 2, 7, 2), (4, 4, 4, 1), (2, 10, 2, 1)],
)
def test_residuals_are_refreshed_where_steps_suffice(
    max_steps, refresh, product_count, graph_count
):
    matrices, rhs = systems()
    solver = linear.ConjugateGradient(max_steps=max_steps, refresh=refresh, tolerance=0.0)
    calls = []

    def product(v):
        calls.append(v)
        return products(matrices)(v)

    solver.solve(product, tf.constant(rhs))
    assert len(calls) == product_count
    calls.clear()
    tf.function(lambda: solver.solve(product, tf.constant(rhs)), autograph=False)()
    assert len(calls) == graph_count


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


def test_a_bad_task_leaves_other_tasks_unchanged(run):
    matrices, rhs = systems(tasks=8)
    solver = linear.ConjugateGradient(max_steps=6)
    clean_result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    broken_matrices = matrices.copy()
    broken_matrices[2] = np.nan
    broken_matrices[5] = -broken_matrices[5]
    result = run(lambda b: solver.solve(products(broken_matrices), b), tf.constant(rhs))
    good_tasks = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(
        result.solution.numpy()[good_tasks], clean_result.solution.numpy()[good_tasks]
    )
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


@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-10), ("float32", 1e-5)])
def test_both_starts_end_at_the_same_solution(run, dtype, accuracy):
    product, matrices, rhs = of_low_rank(dtype=dtype)
    tolerance = 1e-13 if dtype == "float64" else 1e-6
    for start in ("zero", "first_order"):
        solver = linear.ConjugateGradient(max_steps=20, tolerance=tolerance, start=start)
        result = run(lambda b, s=solver: s.solve(product, b, lambda r: r / 2), tf.constant(rhs))
        np.testing.assert_allclose(
            result.solution, dense(matrices, rhs), rtol=accuracy, atol=accuracy
        )
        assert np.all(result.status.numpy() == Status.CONVERGED)


@pytest.mark.parametrize("steps", [2, 3])
def test_a_first_order_start_saves_the_first_step_at_low_rank(steps):
    product, matrices, rhs = of_low_rank(tasks=8, rank=6, size=40)
    exact = dense(matrices, rhs)

    def error(start, max_steps):  # in the norm that conjugate gradient minimizes
        solver = linear.ConjugateGradient(max_steps=max_steps, tolerance=0.0, start=start)
        result = solver.solve(product, tf.constant(rhs), lambda r: r / 2)
        assert np.all(result.steps.numpy() == max_steps + (start == "first_order"))
        true = residuals(matrices, rhs, result.solution)
        np.testing.assert_allclose(result.residual, true, rtol=1e-8)
        solution_error = result.solution - exact
        return np.sqrt(np.einsum("ti,tij,tj->t", solution_error, matrices, solution_error))

    first_order_error = error("first_order", steps)
    assert np.all(first_order_error < error("zero", steps) / 2)
    # Product for product nothing beats a start from zero, but the loss is small.
    best_error = error("zero", steps + 1)
    assert np.all(best_error <= first_order_error * (1 + 1e-9))
    assert np.all(first_order_error < 1.05 * best_error)


def test_a_first_order_start_that_is_the_solution_costs_one_product(run):
    product, matrices, rhs = of_low_rank()
    rhs[0] -= matrices[0] @ rhs[0] / 2  # in the range of the low rank: work is left
    matrices[1] = 2 * np.eye(9)  # solved by rhs / 2
    solver = linear.ConjugateGradient(max_steps=20, tolerance=1e-12, start="first_order")
    result = run(lambda b: solver.solve(products(matrices), b, lambda r: r / 2), tf.constant(rhs))
    assert np.all(result.status.numpy() == Status.CONVERGED)
    steps = result.steps.numpy()
    assert steps[1] == 1 < min(steps[0], steps[2])
    np.testing.assert_allclose(result.solution[1], rhs[1] / 2, rtol=1e-14)
    assert result.residual[1] < 1e-15


@pytest.mark.parametrize("start", ["zero", "first_order"])
def test_negative_curvature_at_the_first_step_leaves_the_first_order_direction(run, start):
    matrices = np.stack([np.diag([-0.5, -0.25, -1.0]), np.diag([1.0, 2.0, 3.0])])
    rhs = np.array([[1.0, -2.0, 0.5], [1.0, 1.0, 1.0]])
    solver = linear.ConjugateGradient(max_steps=10, start=start)
    result = run(lambda b: solver.solve(products(matrices), b, lambda r: r / 2), tf.constant(rhs))
    assert result.status.numpy().tolist() == [Status.NEGATIVE_CURVATURE, Status.CONVERGED]
    np.testing.assert_allclose(result.solution[0], rhs[0] / 2, rtol=1e-12)
    np.testing.assert_allclose(
        result.residual[0], residuals(matrices, rhs, result.solution)[0], rtol=1e-12
    )
    np.testing.assert_allclose(result.solution[1], [1, 1 / 2, 1 / 3], rtol=1e-6)


def energy_errors(matrices, rhs, x):
    """`||x - A^-1 b||_A`, task by task."""
    solution_error = np.asarray(x) - dense(matrices, rhs)
    return np.sqrt(np.einsum("ti,tij,tj->t", solution_error, matrices, solution_error))


@pytest.mark.parametrize("max_steps", [1, 2, 5])
def test_a_first_order_start_is_never_worse_than_the_first_order_direction(max_steps):
    # M^-1 v is far off where the curvature is large: its residual is 500 times that of zero.
    matrices, rhs = systems(condition=1e3)
    solver = linear.ConjugateGradient(max_steps=max_steps, start="first_order")
    result = solver.solve(products(matrices), tf.constant(rhs))
    errors = energy_errors(matrices, rhs, result.solution)
    assert np.all(errors < energy_errors(matrices, rhs, rhs))
    expected = residuals(matrices, rhs, result.solution)
    np.testing.assert_allclose(result.residual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("diagonal", "rhs"), [([1.1, 10.6], [1.9, -12.4]), ([1.0, 15.7], [1.3, -1.5])]
)
def test_the_last_iterate_of_a_first_order_start_is_taken_though_its_residual_is_larger(
    diagonal, rhs
):
    matrices, rhs = np.diag(diagonal)[None], np.array([rhs])
    start = "_".join(["first", "order"])  # as text that was read
    solver = linear.ConjugateGradient(max_steps=1, start=start)
    result = solver.solve(products(matrices), tf.constant(rhs), lambda r: r / 10)
    assert result.residual[0] > 1.1 * residuals(matrices, rhs, rhs / 10)[0]
    assert energy_errors(matrices, rhs, result.solution) < energy_errors(matrices, rhs, rhs / 10)
    assert result.steps.numpy().tolist() == [2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_residuals_above_one_do_not_hide_what_is_closer_to_the_solution(run, dtype):
    """Few products, much curvature in few directions: residuals rise, errors fall."""
    size = 40
    matrices = np.stack([np.diag(np.r_[np.geomspace(1e4, 10, 12), np.ones(28)])] * 2)
    rhs = np.random.default_rng(0).normal(size=(2, size))
    rhs[:, :12] *= 0.05
    before = energy_errors(matrices, rhs, 0 * rhs)
    has_large_residual = False
    for max_steps in range(1, 12):
        solver = linear.ConjugateGradient(max_steps=max_steps, tolerance=0.0)
        product = products(matrices.astype(dtype))
        result = run(lambda b, s=solver, p=product: s.solve(p, b), tf.constant(rhs.astype(dtype)))
        after = energy_errors(matrices, rhs, result.solution)
        assert np.all(after < before)  # strictly, with every product
        true = residuals(matrices, rhs, result.solution)
        np.testing.assert_allclose(result.residual, true, rtol=1e-3)
        has_large_residual |= bool(np.any(true > 1))
        before = after
    assert has_large_residual


def test_low_energy_is_not_trusted_after_negative_curvature():
    """The second step makes the residual 12 and the energy low; the third finds the curvature."""
    random = np.random.default_rng(4)
    axes, _ = np.linalg.qr(random.normal(size=(4, 4)))
    product = products(((axes * [1.0, 4.0, 30.0, -0.3]) @ axes.T)[None])
    rhs = tf.constant(random.normal(size=(1, 4)))
    first, second, last = (
        linear.ConjugateGradient(max_steps=steps).solve(product, rhs) for steps in (1, 2, 4)
    )
    assert second.residual[0] > 12
    assert last.status[0] == int(linear.Status.NEGATIVE_CURVATURE)
    np.testing.assert_array_equal(last.solution, first.solution)


def test_the_exact_hessian_is_not_trusted_where_residuals_rise():
    """It may be indefinite in directions that were not met."""
    matrices = np.stack([np.diag(np.r_[1e3, np.ones(9)]), np.diag(np.arange(1.0, 11.0))])
    rhs = tf.constant(np.r_[0.2, np.ones(9)][None].repeat(2, axis=0))
    solver = linear.ConjugateGradient(max_steps=1)
    definite = solver.solve(products(matrices), rhs)
    assert definite.residual[0] > 1 and np.any(definite.solution[0].numpy() != 0)
    result = solver.solve(HessianProduct(products(matrices)), rhs)
    assert result.residual[0] == 1 and np.all(result.solution[0].numpy() == 0)
    np.testing.assert_array_equal(result.solution[1], definite.solution[1])
    assert HessianProduct(tf.identity).is_positive_definite is None
    assert of_low_rank()[0].is_positive_definite is True


@pytest.mark.parametrize(
    ("operator", "definite"),
    [(HessianProduct(tf.identity), None), (of_low_rank()[0], True), (tf.identity, True)],
)
def test_damping_keeps_the_structure(operator, definite):
    damped = Damped(operator, tf.constant([0.5, 2.0], tf.float64))
    assert damped.is_positive_definite is definite
    if operator is tf.identity:
        v = tf.constant([[1.0, 2.0], [3.0, 4.0]], tf.float64)
        np.testing.assert_allclose(damped(v), [[1.5, 3.0], [9.0, 12.0]])


def test_a_first_order_start_survives_products_of_nan(run):
    matrices, rhs = systems()
    solver = linear.ConjugateGradient(max_steps=6, start="first_order")
    clean_result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    matrices[1] = np.nan
    result = run(lambda b: solver.solve(products(matrices), b), tf.constant(rhs))
    assert result.status[1] == Status.NON_FINITE
    assert np.all(np.isfinite(result.solution))
    for task in (0, 2):
        np.testing.assert_array_equal(result.solution[task], clean_result.solution[task])


def test_statuses_advise():
    for status in Status:
        assert len(status.advice) > 20


@pytest.mark.parametrize(
    "arguments",
    [{"max_steps": 0}, {"max_steps": 2.5}, {"tolerance": -1}, {"refresh": 0}, {"start": "other"}],
)
def test_settings_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Received"):
        linear.ConjugateGradient(**arguments)
