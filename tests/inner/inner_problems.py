"""Linear regressions and functions of one weight as inner problems."""

import numpy as np
import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem
from tests import problems

STRENGTH = 0.7


def inner_problem(problem, tensors=None, strength=STRENGTH):
    objective = problems.objective_of(problem, tensors=tensors)
    strength = tf.constant(strength, objective.parameters.dtype)
    return InnerProblem(objective, objective.parameters.theta(), strength)


def minimize(run, solver, problem, tensors=None):
    inner = inner_problem(problem, tensors)
    return run(lambda: solver.minimize(inner))


def graph(function, *arguments):
    return tf.function(function, autograph=False)(*arguments)


def gradient(problem, phi):
    """grad G in NumPy."""
    slope = np.einsum("tij,tj->ti", problem.hessian, phi) - problem.linear
    return slope + STRENGTH * (phi - problem.theta)


def of_different_difficulty():
    """The first task starts at its minimum, the second is well conditioned, the third is not."""
    problem = problems.LinearRegression(size=3, support=3)
    x = np.stack([np.eye(3), np.eye(3), np.diag([0.2, 1.0, 2.0])])
    y = np.stack([x[0] @ problem.theta, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])[..., None]
    tensors = problem.tensors._replace(support_x=tf.constant(x), support_y=tf.constant(y))
    return problem, tensors


def with_a_huge_task():
    """Single precision; the loss of the second task is of the order of 1e36."""
    problem = problems.LinearRegression(dtype="float32")
    x = problem.data.support_x.copy()
    x[1] *= 1e18
    return problem, problem.tensors._replace(support_x=tf.constant(x))


def path(solver_of, steps, inner):
    """G after 0, 1, 2, ... steps, `[steps + 1, tasks]`."""
    points = [inner.start(), *(solver_of(n).minimize(inner).phi for n in range(1, steps + 1))]
    return np.stack([inner.value(phi) for phi in points])


class Function:
    """An inner problem of one weight a task, given by G itself."""

    steps = None

    strength = tf.constant(0.0, tf.float64)
    theta = property(lambda self: self._start[0])

    def __init__(self, value, start):
        self._value = value
        self._start = tf.constant(start, tf.float64)[:, None]

    def start(self):
        return self._start

    def watch(self, tape):
        """There are no features."""

    def value(self, phi):
        return self._value(phi[:, 0])

    def gradient(self, phi):
        return self.support_and_gradient(phi)[1]

    def support_and_gradient(self, phi):
        with tf.GradientTape() as tape:
            tape.watch(phi)
            value = self.value(phi)
        return value, tape.gradient(value, phi)

    def with_proximal_term(self, support, phi):
        return support  # it has none of its own


def backtrack_in_numpy(value, x, direction, slope, halvings=8):
    """Where the first step of enough decrease ends (None: nowhere), and values of G spent."""
    for count in range(halvings + 1):
        point = x + direction / 2**count
        if value(point) <= value(x) + 1e-4 * slope / 2**count:
            return point, count + 1
    return None, halvings + 1


def hyperbola(x):
    """Convex, with a curvature that fades: Newton's steps are too long by far."""
    return (1 + x**2) ** 0.5
