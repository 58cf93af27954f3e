"""The networks in JAX, as functions of one flat weight vector, and the meta-gradient of a task."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.peers import conjugate_gradient
from benchmarks.speed.peers.protocol import Problem

EPSILON = 1e-3  # of the normalization, as in keras_imaml


def loss_of(problem: Problem) -> Callable:
    """`(phi [size], x, y) -> scalar`; layouts are those of Keras."""
    shapes = [weight.shape for weight in problem.weights]
    ends = np.cumsum([weight.size for weight in problem.weights])[:-1]
    stride = 2 if problem.settings.downsample == "stride" else 1

    def unravel(phi):
        parts = jnp.split(phi, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def cross_entropy(phi, x, y):
        weights = unravel(phi)
        for block in range(4):
            kernel, bias, gamma, beta = weights[4 * block : 4 * block + 4]
            x = bias + jax.lax.conv_general_dilated(
                x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = x - x.mean((0, 1, 2))
            scale = jax.lax.rsqrt(jnp.square(x).mean((0, 1, 2)) + EPSILON) * gamma
            x = jax.nn.relu(x * scale + beta)
            if stride == 1:
                n, height, width, channels = x.shape
                x = x[:, : height // 2 * 2, : width // 2 * 2]
                x = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        logits = x.reshape(x.shape[0], -1) @ weights[-2] + weights[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

    def squared_error(phi, x, y):
        weights = unravel(phi)
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = jax.nn.relu(x @ kernel + bias)
        return jnp.square(x @ weights[-2] + weights[-1] - y).mean()

    return squared_error if problem.settings.network == "mlp" else cross_entropy


def theta_of(problem: Problem) -> jax.Array:
    """The meta-learned weights, `[size]`."""
    return jnp.concatenate([weight.ravel() for weight in problem.weights])


def meta_gradient_of(problem: Problem) -> Callable:
    """`(theta, support_x, support_y, query_x, query_y) -> [size]`, for one task."""
    s, gradient = problem.settings, jax.grad(loss_of(problem))

    def meta_gradient(theta, support_x, support_y, query_x, query_y):
        phi = theta
        for _ in range(s.inner_steps):  # a loop in the graph makes XLA's convolutions slow
            slope = gradient(phi, support_x, support_y) + s.proximal_strength * (phi - theta)
            phi = phi - s.inner_learning_rate * slope
        rhs = gradient(phi, query_x, query_y)
        _, push = jax.linearize(lambda phi: gradient(phi, support_x, support_y), phi)
        w = conjugate_gradient.solve(
            lambda v: push(v) + s.proximal_strength * v, rhs, s.linear_steps
        )
        return s.proximal_strength * w

    return meta_gradient
