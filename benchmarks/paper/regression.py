"""Figure 2 (a): linear regression with a known meta-gradient, and how far from it we may be.

The support loss is the mean of `(x phi - y)^2` over 50 examples in 50 dimensions, its Hessian
`H = 2/50 x'x`. The condition number 50 is that of the inner objective, of `A = H + lambda I` with
lambda = 5: `x = 5 left diag(sqrt(h)) right'` with random rotations left and right, and eigenvalues
h of H evenly from 1 to 295, so that those of A go from mu = 6 to beta = 300. None of them is zero:
least squares never moves along such a direction, and the inner solver would meet a smaller
condition number than A has. Query inputs are random, with H as their expected second moment.

Lemma 2 of the paper, with rho = 0 as the loss is quadratic: for an inner solution within delta of
the exact one and a linear solve within delta' of the exact one,

    ||g - g*|| <= lambda L / mu delta + delta'

L is the largest eigenvalue of the query loss' Hessian. `theory_*` replace delta and delta' by what
the rates of the solvers promise; derivations are beside the code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras_imaml as ki

import keras
import numpy as np
import tensorflow as tf

from benchmarks.solvers import with_settings

SIZE = 50
CONDITION = 50.0
STRENGTH = 5.0  # lambda
SMALLEST = STRENGTH + 1.0  # mu, of A
LARGEST = CONDITION * SMALLEST  # beta
LINEAR_STEPS = (2, 5, 10, 20)
SOLVERS = ("gradient_descent", "nesterov")
STEPS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_ROOT = CONDITION**0.5
_QUERY_ROWS = 100
_ROUNDING = 1e-12  # of a meta-gradient in float64, relative


class Regression:
    """Tasks of one spectrum, each with rotations, data and an answer of its own.

    Args:
        tasks: How many.
        seed: Of everything that is random.
    """

    def __init__(self, tasks: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        roots = np.sqrt(np.linspace(SMALLEST, LARGEST, SIZE) - STRENGTH)
        left, right = (np.linalg.qr(rng.normal(size=(tasks, SIZE, SIZE)))[0] for _ in "lr")
        truth = rng.normal(size=(tasks, SIZE, 1))
        spread = roots[:, None] * np.swapaxes(right, 1, 2)
        self.support_x = (SIZE / 2) ** 0.5 * left @ spread
        self.query_x = 0.5**0.5 * rng.normal(size=(tasks, _QUERY_ROWS, SIZE)) @ spread
        self.support_y = self.support_x @ truth + rng.normal(size=(tasks, SIZE, 1))
        self.query_y = self.query_x @ truth + rng.normal(size=(tasks, _QUERY_ROWS, 1))
        self.theta = rng.normal(size=SIZE)
        self.system = self.hessian(self.support_x) + STRENGTH * np.eye(SIZE)
        force = 2 / SIZE * np.einsum("tni,tnk->ti", self.support_x, self.support_y)
        self.minimizer = self.solve(force + STRENGTH * self.theta)
        self.query_smoothness = np.linalg.eigvalsh(self.hessian(self.query_x))[:, -1]  # L
        self.distance = np.linalg.norm(self.minimizer - self.theta, axis=1)  # of the start
        self.query_gradient = self.query_gradient_at(self.minimizer)
        self.meta_gradient = STRENGTH * self.solve(self.query_gradient)

    @staticmethod
    def hessian(x: np.ndarray) -> np.ndarray:
        """Of the mean squared error on inputs `x`."""
        return 2 / x.shape[1] * np.einsum("tni,tnj->tij", x, x)

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """`A^-1 rhs`, task by task."""
        return np.linalg.solve(self.system, rhs[..., None])[..., 0]

    def query_gradient_at(self, phi: np.ndarray) -> np.ndarray:
        """The gradient of the query loss."""
        left = np.einsum("tni,ti->tn", self.query_x, phi) - self.query_y[..., 0]
        return 2 / _QUERY_ROWS * np.einsum("tni,tn->ti", self.query_x, left)

    def learner(self) -> ki.MetaLearner:
        """A learner at theta, in float64; its algorithm is not used."""
        layers = [keras.Input((SIZE,), dtype="float64")]
        layers.append(keras.layers.Dense(1, use_bias=False, dtype="float64"))
        learner = ki.MetaLearner(keras.Sequential(layers), ki.IMAML())
        learner.compile(loss=keras.losses.MeanSquaredError(dtype="float64"))
        learner.parameters.adapted[0].assign(self.theta[:, None])
        return learner


def inner_solver(name: str, steps: int) -> ki.inner.GradientDescent:
    """The solver with the step size and the momentum that its theory asks for."""
    if name == "gradient_descent":
        return ki.inner.GradientDescent(steps, 2 / (SMALLEST + LARGEST))
    momentum = (_ROOT - 1) / (_ROOT + 1)
    return ki.inner.GradientDescent(steps, 1 / LARGEST, momentum, nesterov=True)


def inner_rate(name: str, steps: int) -> float:
    """`||phi - phi*|| <= rate ||theta - phi*||` on every quadratic between mu and beta.

    Gradient descent multiplies each eigenvector's share by `1 - a 2/(mu + beta)`, at most
    `(kappa - 1)/(kappa + 1)`. Nesterov's bound is on values, `G - G* <= (1 - 1/sqrt(kappa))^T
    (G_0 - G* + mu/2 D^2)`; with `mu/2 d^2 <= G - G*` and `G_0 - G* <= beta/2 D^2` it becomes this.
    """
    if name == "gradient_descent":
        return ((CONDITION - 1) / (CONDITION + 1)) ** steps
    return (CONDITION + 1) ** 0.5 * (1 - 1 / _ROOT) ** (steps / 2)


def linear_rate(steps: int) -> float:
    """`||A^-1 v - w|| <= rate ||v|| / mu` after `steps` of conjugate gradient from zero.

    The error of CG in the norm of A falls by `2 q^K`, hence its residual by `sqrt(kappa)` times
    that; so does that of the iterate with the smallest residual, which our solver returns.
    """
    return 2 * _ROOT * ((_ROOT - 1) / (_ROOT + 1)) ** steps


def measure(problem: Regression, grid: Sequence[int] = STEPS) -> list[dict[str, Any]]:
    """A row for every algorithm, inner solver and number of inner steps."""
    rows = []
    for solver in SOLVERS:
        answer = _answers(problem, solver)
        for steps in grid:
            gradients, phi = answer(tf.constant(steps))
            for linear_steps in (0, *LINEAR_STEPS):
                gradient = gradients[linear_steps].numpy()
                rows.append(_row(problem, solver, steps, linear_steps, gradient, phi.numpy()))
    return rows


def violations(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What contradicts the theory, one line each."""
    return [
        f"{row['algorithm']}, {row['inner_solver']}, {row['inner_steps']} inner steps, "
        f"{row['linear_steps']} linear steps: the error is {row[share]:.6g} times {name}"
        for row in rows
        for share, name in (
            ("share_of_bound", "the bound of Lemma 2"),
            ("share_of_theory", "what the rates of the solvers promise"),
        )
        if not row[share] <= 1
    ]


def _answers(problem: Regression, solver: str) -> Callable[[tf.Tensor], Any]:
    """A function of the number of inner steps.

    It gives the meta-gradients task by task, by the number of linear steps (0: MAML), and the inner
    solutions.
    """
    learner = problem.learner()
    parts = (problem.support_x, problem.support_y), (problem.query_x, problem.query_y)
    data = tf.nest.map_structure(tf.constant, parts)
    inner = inner_solver(solver, 1)
    algorithms: dict[int, Any] = {0: ki.MAML(inner, proximal_strength=STRENGTH)}
    for steps in LINEAR_STEPS:
        linear = ki.linear.ConjugateGradient(steps, tolerance=0.0)
        algorithms[steps] = ki.IMAML(STRENGTH, inner, linear, curvature="hessian")
    for algorithm in algorithms.values():
        algorithm.prepare(learner.parameters)

    @tf.function(autograph=False)
    def answer(inner_steps: tf.Tensor) -> tuple[dict[int, tf.Tensor], tf.Tensor]:
        objective = learner.objective(data, training=True)
        gradients = {}
        for steps, algorithm in algorithms.items():
            # Algorithms in use refuse this, for graphs that are there; this one is being made.
            object.__setattr__(algorithm, "inner", with_settings(inner, steps=inner_steps))
            meta = algorithm.meta_gradient(objective, learner.parameters.adapted)
            gradients[steps] = meta.per_task
        return gradients, algorithms[0].adapt(objective).phi

    return answer


def _row(
    problem: Regression,
    solver: str,
    steps: int,
    linear_steps: int,
    gradient: np.ndarray,
    phi: np.ndarray,
) -> dict[str, Any]:
    size = np.linalg.norm(problem.meta_gradient, axis=1)
    error = np.linalg.norm(gradient - problem.meta_gradient, axis=1)
    delta = np.linalg.norm(phi - problem.minimizer, axis=1)
    rate = inner_rate(solver, steps)
    movement = rate * problem.distance
    gradient_at_phi = problem.query_gradient_at(phi)
    smooth, jacobian = problem.query_smoothness, STRENGTH / SMALLEST  # L and ||lambda A^-1||
    if linear_steps:
        # g - g* = (g - lambda A^-1 v) + lambda A^-1 (v - v*), and ||v - v*|| <= L delta.
        exact = STRENGTH * problem.solve(gradient_at_phi)
        delta_prime = np.linalg.norm(gradient - exact, axis=1)
        promised = jacobian * linear_rate(linear_steps) * np.linalg.norm(gradient_at_phi, axis=1)
        bound = jacobian * smooth * delta + delta_prime
        theory = jacobian * smooth * movement + promised
    else:
        # Not the Lemma's case, in its manner: phi_T - phi* = P (theta - phi*) with a polynomial P
        # of A, ||P|| <= rate, so that g = J'v with J = J* + P (I - J*), J* = lambda A^-1, and
        # ||g - g*|| <= ||J|| ||v - v*|| + ||J - J*|| ||v*||.
        off = rate * (1 - STRENGTH / LARGEST)
        margin = off * np.linalg.norm(problem.query_gradient, axis=1)
        delta_prime = np.full_like(delta, np.nan)
        bound = (jacobian + off) * smooth * delta + margin
        theory = (jacobian + off) * smooth * movement + margin
    slack = _ROUNDING * size
    return {
        "algorithm": "iMAML" if linear_steps else "MAML",
        "linear_steps": linear_steps,
        "inner_solver": solver,
        "inner_steps": steps,
        "relative_error": float(np.mean(error / size)),
        "delta": float(np.mean(delta)),
        "delta_prime": float(np.mean(delta_prime)),
        "relative_bound": float(np.mean(bound / size)),
        "relative_theory": float(np.mean(theory / size)),
        "share_of_bound": float(np.max(error / (bound + slack))),
        "share_of_theory": float(np.max(error / (theory + slack))),
    }
