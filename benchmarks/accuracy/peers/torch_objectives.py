"""The objectives of the problems in PyTorch, as functions of flat weights."""

import torch
from torch.nn import functional

from benchmarks.accuracy.peers.problems import DECAY, STRENGTH, Problem

torch.set_default_dtype(torch.float64)


class Vector(torch.nn.Module):
    """A vector of parameters as a module, which is what these libraries differentiate."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))

    def forward(self):
        """The vector."""
        return self.values


def outputs(name: str, phi: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What the network of a problem gives with the weights `phi`."""
    if name == "ridge":
        return x @ phi.reshape(4, 1)
    if name == "reweighting":
        return x @ phi.reshape(3, 3)
    kernel, bias, head, last = torch.split(phi, [18, 2, 24, 3])
    kernel = kernel.reshape(3, 3, 1, 2).permute(3, 2, 0, 1)
    x = torch.tanh(functional.conv2d(x.permute(0, 3, 1, 2), kernel, bias, stride=2))
    return x.permute(0, 2, 3, 1).flatten(1) @ head.reshape(8, 3) + last


def losses(name: str, phi: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of each example."""
    z = outputs(name, phi, x)
    if name == "ridge":
        return torch.square(z - y)[:, 0]
    return functional.cross_entropy(z, y, reduction="none")


def inner(name: str, phi: torch.Tensor, meta: torch.Tensor, x: torch.Tensor, y: torch.Tensor):
    """The inner objective."""
    each = losses(name, phi, x, y)
    if name == "ridge":
        return each.mean() + torch.exp(meta[0]) * phi @ phi
    if name == "reweighting":
        return (torch.sigmoid(meta) * each).mean() + DECAY * phi @ phi
    return each.mean() + 0.5 * STRENGTH * (phi - meta) @ (phi - meta)


def outer(name: str, phi: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The outer objective."""
    return losses(name, phi, x, y).mean()


def tensors(problem: Problem) -> list[list[torch.Tensor]]:
    """The arrays of each task."""
    return [[torch.tensor(part) for part in task] for task in problem.tasks]
