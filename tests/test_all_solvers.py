"""What holds for all inner solvers, linear solvers and curvatures, and for all of their pairs."""

import ast
import dataclasses
import functools
import inspect
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.algorithms.implicit_gradient import implicit_gradient
from keras_imaml.curvature import CURVATURES
from keras_imaml.linear import Status
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.tasks import Tasks
from tests import problems
from tests.curvature import networks
from tests.curvature.networks import relative_error
from tests.linear.systems import RANK, dense, of_low_rank, residuals

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
    "nystrom": ki.linear.Nystrom(rank=20),
    "dual": ki.linear.Dual(),
}


PAIRS = [
    (linear, curvature)
    for linear in LINEAR
    for curvature in ("hessian", "gauss_newton")
    if (linear, curvature) != ("dual", "hessian")
]


# Each inner solver, and each pair of linear solver and curvature, at least once.
QUICK = [("newton_cg", *PAIRS[0]), *(("nesterov", *pair) for pair in PAIRS)]
SLOW = [
    ("gradient_descent", "neumann", "gauss_newton"),
    ("heavy_ball", "nystrom", "hessian"),
    ("newton_cg", "dual", "gauss_newton"),
    ("lbfgs", "conjugate_gradient", "hessian"),
    ("adam", "dual", "gauss_newton"),
]
TRIPLES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize(("inner", "linear", "curvature"), TRIPLES)
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


# At the accuracy of a dtype, for systems of `of_low_rank`.
DENSE = {
    "conjugate_gradient": lambda t: ki.linear.ConjugateGradient(max_steps=20, tolerance=t),
    "first_order_start": lambda t: ki.linear.ConjugateGradient(20, t, start="first_order"),
    "neumann": lambda t: ki.linear.Neumann(max_steps=200, tolerance=t),
    "nystrom": lambda t: ki.linear.Nystrom(rank=RANK, tolerance=100 * t),
    "dual": lambda t: ki.linear.Dual(tolerance=10 * t),
}
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


def solve(run, linear, dtype="float64", size=1.0, change=lambda rhs: None, broken=None):
    """A solver's answer to three systems, their matrices and their right-hand sides."""
    product, matrices, rhs = of_low_rank(dtype=dtype, broken=broken)
    rhs *= np.asarray(size, dtype)
    change(rhs)
    solver = DENSE[linear](TOLERANCE[dtype])
    result = run(lambda b: solver.solve(product, b, lambda r: r / 2), tf.constant(rhs))
    return result, matrices, rhs


def assert_others_are_untouched(result, expected):
    """The second of three tasks is another; the numbers of the others are the same to a bit."""
    for field, expected_field in zip(result, expected, strict=True):
        np.testing.assert_array_equal(field.numpy()[[0, 2]], expected_field.numpy()[[0, 2]])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("linear", DENSE)
def test_linear_solvers_equal_the_dense_solution(run, linear, dtype):
    result, matrices, rhs = solve(run, linear, dtype)
    accuracy = 10 * TOLERANCE[dtype]
    np.testing.assert_allclose(result.solution, dense(matrices, rhs), rtol=accuracy, atol=accuracy)
    assert np.all(result.status.numpy() == Status.CONVERGED)
    true = residuals(matrices, rhs, result.solution)
    np.testing.assert_allclose(result.residual, true, rtol=1e-3, atol=TOLERANCE[dtype])
    assert result.solution.dtype == result.residual.dtype == dtype
    assert result.steps.dtype == result.status.dtype == tf.int32
    assert np.all(result.steps.numpy() > 0)


@pytest.mark.parametrize("linear", ["conjugate_gradient", "first_order_start", "neumann"])
def test_an_exact_solution_has_converged_whatever_the_tolerance(linear):
    solver = dataclasses.replace(
        DENSE[linear](0.0), **{"scale": 1.0} if linear == "neumann" else {}
    )
    rhs = tf.constant([[1.0, 0.0], [0.0, 1.0]], tf.float64)
    result = solver.solve(tf.identity, rhs)
    np.testing.assert_array_equal(result.solution, rhs)
    assert result.status.numpy().tolist() == [Status.CONVERGED] * 2
    assert result.steps.numpy().tolist() == [1, 1]


def test_the_numbers_of_statuses_are_those_that_logs_hold():
    names = ["CONVERGED", "MAX_STEPS", "NEGATIVE_CURVATURE", "NON_FINITE", "DIVERGED"]
    assert {name: int(status) for name, status in Status.__members__.items()} == {
        name: number for number, name in enumerate(names)
    }


@pytest.mark.parametrize("linear", DENSE)
def test_linear_solvers_answer_zero_with_zero(run, linear):
    def second_is_zero(rhs):
        rhs[1] = 0

    result, *_ = solve(run, linear, change=second_is_zero)
    assert np.all(result.solution.numpy()[1] == 0)
    assert result.residual[1] == 0
    assert np.all(result.status.numpy() == Status.CONVERGED)
    assert_others_are_untouched(result, solve(run, linear)[0])


@pytest.mark.parametrize("linear", DENSE)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_linear_solvers_confine_a_right_hand_side_that_is_not_finite(linear, value):
    def second_is_broken(rhs):
        rhs[1, 2] = value

    run = lambda f, *a: f(*a)  # noqa: E731
    result, *_ = solve(run, linear, change=second_is_broken)
    assert result.status[1] == Status.NON_FINITE
    assert np.all(result.solution.numpy()[1] == 0)
    assert_others_are_untouched(result, solve(run, linear)[0])


@pytest.mark.parametrize("linear", DENSE)
def test_linear_solvers_confine_products_that_are_not_finite(run, linear):
    result, *_ = solve(run, linear, broken=1)
    assert result.status[1] == Status.NON_FINITE
    assert np.all(np.isfinite(result.solution))
    assert_others_are_untouched(result, solve(run, linear)[0])


@pytest.mark.parametrize("linear", DENSE)
def test_linear_solvers_do_not_mind_the_size_of_a_gradient(linear):
    call = lambda f, *a: f(*a)  # noqa: E731
    for size in (1e-30, 1e15):
        result, matrices, rhs = solve(call, linear, "float32", size)
        expected = dense(matrices, rhs.astype("float64") / size)
        np.testing.assert_allclose(result.solution / np.float32(size), expected, atol=2e-5)
        assert np.all(result.status.numpy() == Status.CONVERGED)


@pytest.mark.parametrize("solver", [*INNER.values(), *LINEAR.values()], ids=[*INNER, *LINEAR])
def test_configuration_round_trip(solver):
    config = keras.saving.serialize_keras_object(solver)
    assert keras.saving.deserialize_keras_object(config) == solver


def test_every_linear_solver_takes_part():
    solvers = {value for value in vars(ki.linear).values() if hasattr(value, "solve")}
    assert solvers - {ki.linear.LinearSolver} == {type(make(0.1)) for make in DENSE.values()}


def test_every_inner_solver_takes_part():
    solvers = {value for value in vars(ki.inner).values() if hasattr(value, "minimize")}
    assert solvers - {ki.inner.InnerSolver} == {type(solver) for solver in INNER.values()}


@pytest.mark.parametrize("inner", INNER)
def test_inner_solvers_stop_each_task_independently(inner):
    problem = problems.LinearRegression(tasks=4)
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(0.7, INNER[inner])
    algorithm.prepare(objective.parameters)
    data = problem.data.support_x.copy()
    data[1] *= 1e-6  # nothing to learn: theta is the solution at once
    easy_objective = problems.objective_of(
        problem, tensors=problem.tensors._replace(support_x=tf.constant(data))
    )
    # A task that has nothing to do stays where it is, whatever the others need.
    solution = tf.function(lambda: algorithm.adapt(easy_objective), autograph=False)()
    np.testing.assert_allclose(solution.phi[1], problem.theta, atol=1e-5)
    expected = tf.function(lambda: algorithm.adapt(objective), autograph=False)()
    np.testing.assert_allclose(
        solution.phi.numpy()[[0, 2, 3]], expected.phi.numpy()[[0, 2, 3]], atol=1e-7
    )
    assert np.all(solution.gradients.numpy() > 0)


CONDITION = 10.0  # of the Hessian system of the network below, at most


@functools.cache
def regression():
    """Two tasks for a network of 19 weights with tanh, whose Hessian is not its Gauss-Newton."""
    keras.utils.set_random_seed(0)
    model = ki.models.MLP(1, (1,), hidden=(6,), activation="tanh", dtype="float64")
    x = np.random.default_rng(1).uniform(-2, 2, size=(2, 9, 1))
    y = np.sin(2 * x + np.reshape([0.0, 1.0], (2, 1, 1)))
    tensors = Tasks(*map(tf.constant, (x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])))
    return SimpleNamespace(model=model, loss=problems.mean_squared_error, tensors=tensors)


@functools.cache
def central_differences(step=1e-4):
    """Of the mean query loss at the inner solutions, for theta and for log lambda.

    Tasks are independent: every move of every weight is a meta-batch of one large problem.
    """
    problem = regression()
    theta = np.concatenate([np.ravel(v) for v in problem.model.trainable_variables])
    moves = step * np.eye(theta.size + 1)
    moved_weights = np.repeat(np.concatenate([moves, -moves]) + [*theta, 0.0], 2, axis=0)
    tensors = Tasks(
        *(tf.tile(part, [len(moved_weights) // 2, 1, 1]) for part in problem.tensors[:4])
    )
    objective = problems.objective_of(problem, tensors=tensors)
    start = tf.constant(moved_weights[:, :-1])
    inner = InnerProblem(objective, start, tf.constant(np.exp(moved_weights[:, -1:])))
    solver = ki.inner.GradientDescent(300, 0.1, momentum="strongly_convex", nesterov=True)
    solution = tf.function(lambda: solver.minimize(inner, start), autograph=False)()
    assert np.max(solution.gradient_norm) < 1e-13
    losses = np.reshape(objective.query_losses(solution.phi)[0], (2, -1, 2)).mean(axis=-1)
    return (losses[0] - losses[1]) / (2 * step)


@functools.cache
def every_pair():
    """`phi ->` the meta-gradient for theta and log lambda by each of `PAIRS`, in one graph."""
    problem = regression()
    objective = problems.objective_of(problem)
    algorithm = ki.IMAML(ki.ProximalStrength(1.0, learned=True))
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]

    def meta_gradient(linearization, query_gradient, linear):
        implicit = implicit_gradient(
            linearization, query_gradient, valid=tf.constant([True, True]), linear=LINEAR[linear]
        )
        gradient = tf.concat([tf.reshape(g, [-1]) for g in implicit.sums], axis=0) / 2
        return gradient, implicit.solution.residual

    @tf.function(autograph=False)
    def meta_gradients(phi):
        with tf.GradientTape() as tape:
            tape.watch(phi)
            losses, _ = objective.query_losses(phi)
        query_gradient = tape.gradient(losses, phi)
        linearizations = {
            name: curvature().linearize(lambda: algorithm.inner_problem(objective), phi, variables)
            for name, curvature in CURVATURES.items()
        }
        return [
            meta_gradient(linearizations[name], query_gradient, linear) for linear, name in PAIRS
        ]

    def by_pair(phi):
        return {
            pair: (g.numpy(), r.numpy())
            for pair, (g, r) in zip(PAIRS, meta_gradients(phi), strict=True)
        }

    return algorithm.inner_problem(objective), by_pair


@pytest.mark.parametrize(
    "inner",
    [pytest.param(name, marks=pytest.mark.slow) for name in INNER],
)
def test_meta_gradient_of_a_network(inner):
    problem, by_pair = every_pair()
    minimize = tf.function(lambda: INNER[inner].minimize(problem), autograph=False)
    results = by_pair(minimize().phi)
    exact = central_differences()
    reference = results["conjugate_gradient", "gauss_newton"][0]
    accuracy = 1e-6
    for (linear, curvature), (gradient, residual) in results.items():
        error = relative_error(gradient, exact)
        if curvature == "gauss_newton":
            # An approximation: all solvers agree on it, and it points to the same side.
            assert relative_error(gradient, reference) < accuracy
            cosine = gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact)
            assert 0.9 < cosine < 1 and error > 0.01
        elif linear == "nystrom":
            # It leaves negative curvature out. Its residual says so, and bounds the error.
            assert np.all(residual > 1e-3)
            assert error < CONDITION * np.max(residual)
        else:
            assert error < accuracy


def test_system_of_the_network_is_positive_definite_and_indefinite_without_lambda():
    problem, _ = every_pair()
    minimize = tf.function(lambda: INNER["nesterov"].minimize(problem), autograph=False)
    phi = minimize().phi
    product = CURVATURES["hessian"]().linearize(lambda: problem, phi, ()).product
    values = np.linalg.eigvalsh(networks.dense(product, phi))
    assert 0 < values.min() < 1 < values.max() < CONDITION * values.min()


@pytest.mark.parametrize("solver", [*INNER.values(), *LINEAR.values()], ids=[*INNER, *LINEAR])
def test_settings_cannot_be_changed_and_solvers_can_be_keys(solver):
    (name, *_) = vars(solver)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(solver, name, 1)
    assert {solver: 1}[dataclasses.replace(solver)] == 1


def test_settings_may_lie_at_their_bounds():
    ki.inner.GradientDescent(steps=1, momentum=0.0, tolerance=0.0)
    ki.inner.Adam(steps=1, beta_1=0.0, beta_2=0.0, tolerance=0.0)
    ki.inner.LBFGS(steps=1, memory=1, backtracks=0, tolerance=0.0)
    ki.inner.NewtonCG(
        steps=1, linear_steps=1, damping=0.0, backtracks=0, tolerance=0.0, linear_tolerance=0.0
    )
    ki.linear.ConjugateGradient(max_steps=1, tolerance=0.0, refresh=1)
    ki.linear.Neumann(max_steps=1, power_steps=1, tolerance=0.0)
    ki.linear.Nystrom(rank=1, seed=0, tolerance=0.0)
    ki.linear.Dual(tolerance=0.0)


DEFAULT = re.compile(
    r"^    (\w+): (?:(?!^    \w+: ).)*?Defaults to\s+`([^`]+)`", re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("kind", sorted({*map(type, [*INNER.values(), *LINEAR.values()])}, key=str))
def test_defaults_are_those_of_the_docstring(kind):
    documented = dict(DEFAULT.findall(inspect.getdoc(kind)))
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()
    }
    assert {name: ast.literal_eval(value) for name, value in documented.items()} == defaults
