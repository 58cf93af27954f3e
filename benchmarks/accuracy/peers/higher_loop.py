"""A loop with higher, through a few steps of gradient descent.

.venv-peers/bin/python -m benchmarks.accuracy.peers.higher_loop
"""

import importlib.metadata

import higher
import torch

from benchmarks.accuracy.peers import problems
from benchmarks.accuracy.peers.torch_objectives import Vector, inner, losses, outer, tensors


def meta_gradient(problem: problems.Problem) -> torch.Tensor:
    """The mean over tasks, through the steps."""
    name = problem.name
    weights = Vector(problem.start)
    of_start = name == "images"
    meta = weights.values if of_start else torch.tensor(problem.meta, requires_grad=True)
    optimizer = torch.optim.SGD(weights.parameters(), lr=problems.RATE * problem.rate)
    total = torch.zeros(problem.meta.size)
    for x, y, query_x, query_y in tensors(problem):
        with higher.innerloop_ctx(weights, optimizer, copy_initial_weights=False) as (net, steps):
            for _ in range(problems.STEPS):
                support = losses(name, net(), x, y).mean() if of_start else None
                steps.step(support if of_start else inner(name, net(), meta, x, y))
            total += torch.autograd.grad(outer(name, net(), query_x, query_y), meta)[0]
    return total / len(problem.tasks)


if __name__ == "__main__":
    version = importlib.metadata.version("higher")
    problems.answer(meta_gradient, {"higher": version, "torch": torch.__version__})
