"""PyTorch, all tasks at once by `torch.func.vmap`."""

import torch
from torch.func import grad, vjp, vmap

from benchmarks.speed.peers import conjugate_gradient, protocol
from benchmarks.speed.peers.torch_network import Network


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    network, s = Network(problem), problem.settings
    theta, tasks = network.theta(), network.tasks(problem)
    gradients = vmap(grad(network.loss))

    def step():
        support_x, support_y, query_x, query_y = tasks
        phi = theta.expand(s.tasks, -1)
        for _ in range(s.inner_steps):
            slope = gradients(phi, support_x, support_y) + s.proximal_strength * (phi - theta)
            phi = phi - s.inner_learning_rate * slope
        rhs = gradients(phi, query_x, query_y)
        _, pull_back = vjp(lambda phi: gradients(phi, support_x, support_y), phi)
        w = conjugate_gradient.solve(
            lambda v: pull_back(v, retain_graph=True)[0] + s.proximal_strength * v,
            rhs,
            s.linear_steps,
        )
        return s.proximal_strength * w.mean(0)

    return protocol.Worker(step, network.answer, {"torch": torch.__version__})


if __name__ == "__main__":
    protocol.serve(build)
