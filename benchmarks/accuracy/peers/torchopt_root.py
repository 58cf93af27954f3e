"""TorchOpt's `custom_root`.

.venv-peers/bin/python -m benchmarks.accuracy.peers.torchopt_root
"""

import torch
import torchopt

from benchmarks.accuracy.peers import problems
from benchmarks.accuracy.peers.torch_objectives import inner, outer, tensors


def meta_gradient(problem: problems.Problem) -> torch.Tensor:
    """The mean over tasks, by the implicit function theorem."""
    name = problem.name
    slope = torch.func.grad(lambda phi, meta, x, y: inner(name, phi, meta, x, y))
    cg = torchopt.linear_solve.solve_cg(maxiter=100, rtol=1e-12, atol=0.0)

    @torchopt.diff.implicit.custom_root(slope, argnums=1, solve=cg)
    def solve(phi, meta, x, y):
        for _ in range(2000):
            phi = phi - problem.rate * slope(phi, meta, x, y)
        return phi

    total = torch.zeros(problem.meta.size)
    for x, y, query_x, query_y in tensors(problem):
        meta = torch.tensor(problem.meta, requires_grad=True)
        phi = solve(torch.tensor(problem.start), meta, x, y)
        total += torch.autograd.grad(outer(name, phi, query_x, query_y), meta)[0]
    return total / len(problem.tasks)


if __name__ == "__main__":
    problems.answer(meta_gradient, {"torchopt": torchopt.__version__, "torch": torch.__version__})
