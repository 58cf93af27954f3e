"""JAXopt's `custom_root`.

.venv-peers/bin/python -m benchmarks.accuracy.peers.jaxopt_root
"""

import functools
import importlib.metadata

import jax
import jaxopt
import numpy as np
from jax import numpy as jnp

from benchmarks.accuracy.peers import problems

jax.config.update("jax_enable_x64", True)


def outputs(name, phi, x):
    """What the network of a problem gives with the weights `phi`."""
    if name == "ridge":
        return x @ phi.reshape(4, 1)
    if name == "reweighting":
        return x @ phi.reshape(3, 3)
    kernel, bias, head, last = jnp.split(phi, [18, 20, 44])
    x = jax.lax.conv_general_dilated(
        x, kernel.reshape(3, 3, 1, 2), (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(x + bias).reshape(len(x), -1) @ head.reshape(8, 3) + last


def losses(name, phi, x, y):
    """The loss of each example."""
    z = outputs(name, phi, x)
    if name == "ridge":
        return jnp.square(z - y)[:, 0]
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1)[:, 0]


def inner(name, phi, meta, x, y):
    """The inner objective."""
    each = losses(name, phi, x, y)
    if name == "ridge":
        return each.mean() + jnp.exp(meta[0]) * phi @ phi
    if name == "reweighting":
        return (jax.nn.sigmoid(meta) * each).mean() + problems.DECAY * phi @ phi
    return each.mean() + 0.5 * problems.STRENGTH * (phi - meta) @ (phi - meta)


def meta_gradient(problem: problems.Problem) -> np.ndarray:
    """The mean over tasks, by the implicit function theorem."""
    slope = jax.grad(functools.partial(inner, problem.name))
    cg = functools.partial(jaxopt.linear_solve.solve_cg, tol=1e-12, maxiter=100)

    @jaxopt.implicit_diff.custom_root(slope, solve=cg)
    def solve(phi, meta, x, y):
        def step(_, phi):
            return phi - problem.rate * slope(phi, meta, x, y)

        return jax.lax.fori_loop(0, 2000, step, phi)

    def outer(meta, x, y, query_x, query_y):
        phi = solve(jnp.asarray(problem.start), meta, x, y)
        return losses(problem.name, phi, query_x, query_y).mean()

    gradients = [jax.jit(jax.grad(outer))(problem.meta, *task) for task in problem.tasks]
    return np.mean(gradients, axis=0)


if __name__ == "__main__":
    version = importlib.metadata.version("jaxopt")
    problems.answer(meta_gradient, {"jaxopt": version, "jax": jax.__version__})
