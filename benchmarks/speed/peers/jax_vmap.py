"""JAX, all tasks at once: `jit` of `vmap`."""

import jax
import numpy as np

from benchmarks.speed.peers import jax_network, protocol


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    meta_gradients = jax.vmap(jax_network.meta_gradient_of(problem), (None, 0, 0, 0, 0))
    mean = jax.jit(lambda theta, *tasks: meta_gradients(theta, *tasks).mean(0))
    theta = jax_network.theta_of(problem)
    tasks = jax.device_put(problem.tasks)

    def step():
        return jax.block_until_ready(mean(theta, *tasks))

    return protocol.Worker(step, np.asarray, {"jax": jax.__version__})


if __name__ == "__main__":
    protocol.serve(build)
