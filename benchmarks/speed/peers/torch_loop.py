"""PyTorch, task after task, double backward: the way of the paper's released code."""

import torch

from benchmarks.speed.peers import conjugate_gradient, protocol
from benchmarks.speed.peers.torch_network import Network


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    network, s = Network(problem), problem.settings
    theta, tasks = network.theta(), network.tasks(problem)

    def gradient(phi, x, y, **options):
        return torch.autograd.grad(network.loss(phi, x, y), phi, **options)[0]

    def meta_gradient(support_x, support_y, query_x, query_y):
        phi = theta.clone()
        for _ in range(s.inner_steps):
            slope = gradient(phi.requires_grad_(), support_x, support_y)
            phi = phi.detach()
            phi = phi - s.inner_learning_rate * (slope + s.proximal_strength * (phi - theta))
        phi.requires_grad_()
        rhs = gradient(phi, query_x, query_y)
        slope = gradient(phi, support_x, support_y, create_graph=True)

        def product(v):
            (curved,) = torch.autograd.grad(slope, phi, v, retain_graph=True)
            return curved + s.proximal_strength * v

        return s.proximal_strength * conjugate_gradient.solve(product, rhs, s.linear_steps)

    def step():
        total = torch.zeros_like(theta)
        for task in zip(*tasks, strict=True):
            total += meta_gradient(*task)
        return total / s.tasks

    return protocol.Worker(step, network.answer, {"torch": torch.__version__})


if __name__ == "__main__":
    protocol.serve(build)
