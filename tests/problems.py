"""Small problems with known answers, shared by the tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.task_objective import NetworkAndLoss, TaskObjective
from keras_imaml.objectives.tasks import Tasks
from tests import learners


def mean_squared_error(y, z):
    return tf.reduce_mean(tf.square(y - z))


class LinearRegression:
    """`Lhat = mean (x phi - y)^2` over tasks: quadratic in the weights, solved in closed form."""

    def __init__(self, tasks=3, size=6, support=5, query=7, seed=0, dtype="float64"):
        rng = np.random.default_rng(seed)
        draw = lambda *shape: rng.normal(size=(tasks, *shape)).astype(dtype)  # noqa: E731
        self.data = Tasks(draw(support, size), draw(support, 1), draw(query, size), draw(query, 1))
        self.tensors = Tasks(*map(tf.constant, self.data[:4]))
        self.model = keras.Sequential(
            [
                keras.Input((size,), dtype=dtype),
                keras.layers.Dense(1, use_bias=False, dtype=dtype, kernel_initializer="normal"),
            ]
        )
        self.loss = mean_squared_error
        x, y = self.data.support_x, self.data.support_y
        self.hessian = 2 / support * np.einsum("tni,tnj->tij", x, x)
        self.linear = 2 / support * np.einsum("tni,tnk->ti", x, y)

    @property
    def theta(self):
        return np.concatenate([np.ravel(v) for v in self.model.trainable_variables])

    def minimizer(self, theta, strength):
        """argmin Lhat + 1/2 (phi - theta)' diag(strength) (phi - theta), task by task."""
        system = self.hessian + np.diag(np.broadcast_to(strength, theta.shape))
        rhs = self.linear + strength * theta
        return np.linalg.solve(system, rhs[..., None])[..., 0]

    def query_gradient(self, phi):
        x, y = self.data.query_x, self.data.query_y
        left = np.einsum("tni,ti->tn", x, phi) - y[..., 0]
        return 2 / x.shape[1] * np.einsum("tni,tn->ti", x, left)

    def meta_gradients(self, theta, strength):
        """The gradients of the mean query loss for theta and for the vector lambda."""
        phi = self.minimizer(theta, strength)
        system = self.hessian + np.diag(np.broadcast_to(strength, theta.shape))
        w = np.linalg.solve(system, self.query_gradient(phi)[..., None])[..., 0]
        return np.mean(strength * w, axis=0), np.mean(-(phi - theta) * w, axis=0)


class Images:
    """A small convolutional network in float64 on random images."""

    def __init__(
        self, tasks=2, way=3, shot=2, query=3, seed=0, dtype="float64", filters=4, **settings
    ):
        rng = np.random.default_rng(seed)
        images = lambda n: rng.uniform(size=(tasks, n, 8, 8, 1)).astype(dtype)  # noqa: E731
        labels = lambda n: np.tile(np.arange(way), (tasks, n)).astype("int32")  # noqa: E731
        self.data = Tasks(images(way * shot), labels(shot), images(way * query), labels(query))
        self.tensors = Tasks(*map(tf.constant, self.data[:4]))
        keras.utils.set_random_seed(seed)
        self.model = learners.small(filters, way, dtype=dtype, blocks=2, **settings)
        # Keras computes a loss in its own dtype, which is float32 unless told otherwise.
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)


def check_by_differences(loss, variables, gradients):
    """Each gradient (None: zero) against central differences of `loss` in a random direction."""
    rng = np.random.default_rng(0)
    for variable, gradient in zip(variables, gradients, strict=True):
        direction = rng.normal(size=variable.shape)
        direction /= np.linalg.norm(direction)
        exact = 0.0 if gradient is None else float(np.sum(gradient * direction))
        start, step = variable.numpy(), 1e-5
        values = []
        for sign in (1, -1):
            variable.assign(start + sign * step * direction)
            values.append(float(loss()))
        variable.assign(start)
        difference = (values[0] - values[1]) / (2 * step)
        assert exact == pytest.approx(difference, rel=1e-4, abs=2e-8), variable.path


def objective_of(
    problem, adapt=None, transductive=True, training=True, tensors=None
) -> TaskObjective:
    """The objective of a problem's data under its model."""
    network = TaskNetwork(problem.model, Parameters(problem.model, adapt))
    level = NetworkAndLoss(network, TaskLoss(problem.loss, network.parameters.dtype))
    tensors = problem.tensors if tensors is None else tensors
    return TaskObjective(level, level, tensors, training, transductive)
