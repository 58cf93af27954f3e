"""JAX, task after task, the meta-gradient of a task compiled."""

import jax
import numpy as np

from benchmarks.speed.peers import jax_network, protocol


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    meta_gradient = jax.jit(jax_network.meta_gradient_of(problem))
    theta = jax_network.theta_of(problem)
    tasks = [jax.device_put(task) for task in zip(*problem.tasks, strict=True)]

    def step():
        total = meta_gradient(theta, *tasks[0])
        for task in tasks[1:]:
            total = total + meta_gradient(theta, *task)
        return jax.block_until_ready(total / len(tasks))

    return protocol.Worker(step, np.asarray, {"jax": jax.__version__})


if __name__ == "__main__":
    protocol.serve(build)
