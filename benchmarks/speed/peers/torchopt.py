"""TorchOpt's implicit differentiation, task after task.

Run with `-m`: as a script, its folder would hide the package of the same name.
"""

import torch
import torchopt

from benchmarks.speed.peers import protocol
from benchmarks.speed.peers.torch_network import Network


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    network, s = Network(problem), problem.settings
    theta, tasks = network.theta(), network.tasks(problem)

    def objective(phi, theta, x, y):
        offset = phi - theta
        return network.loss(phi, x, y) + 0.5 * s.proximal_strength * (offset @ offset)

    slope = torch.func.grad(objective, argnums=0)

    @torchopt.diff.implicit.custom_root(
        slope,
        argnums=1,
        solve=torchopt.linear_solve.solve_cg(maxiter=s.linear_steps, rtol=0.0, atol=0.0),
    )
    def solve(phi, theta, x, y):
        for _ in range(s.inner_steps):
            phi = phi - s.inner_learning_rate * slope(phi, theta, x, y)
        return phi

    def step():
        total = torch.zeros_like(theta)
        for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
            meta = theta.clone().requires_grad_()
            phi = solve(theta, meta, support_x, support_y)
            total += torch.autograd.grad(network.loss(phi, query_x, query_y), meta)[0]
        return total / s.tasks

    versions = {"torch": torch.__version__, "torchopt": torchopt.__version__}
    return protocol.Worker(step, network.answer, versions)


if __name__ == "__main__":
    protocol.serve(build)
