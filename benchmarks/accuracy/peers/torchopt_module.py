"""TorchOpt's `ImplicitMetaGradientModule`.

.venv-peers/bin/python -m benchmarks.accuracy.peers.torchopt_module
"""

import torch
import torchopt
from torchopt.nn import ImplicitMetaGradientModule

from benchmarks.accuracy.peers import problems
from benchmarks.accuracy.peers.torch_objectives import inner, outer, tensors


class Meta(torch.nn.Module):
    """Holds the meta-parameters."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))


class Inner(
    ImplicitMetaGradientModule,
    linear_solve=torchopt.linear_solve.solve_cg(maxiter=100, rtol=1e-12, atol=0.0),
):
    """The weights of one task, which depend on the meta-parameters."""

    def __init__(self, meta, problem):
        super().__init__()
        self.meta = meta
        self.phi = torch.nn.Parameter(torch.tensor(problem.start))
        self.problem = problem

    def objective(self, x, y):
        """What `solve` minimizes."""
        return inner(self.problem.name, self.phi, self.meta.values, x, y)

    def solve(self, x, y):
        """Gradient descent, which nothing differentiates."""
        for _ in range(2000):
            with torch.enable_grad():
                slope = torch.autograd.grad(self.objective(x, y), self.phi)[0]
            with torch.no_grad():
                self.phi -= self.problem.rate * slope
        return self


def meta_gradient(problem: problems.Problem) -> torch.Tensor:
    """The mean over tasks, by the implicit function theorem."""
    meta = Meta(problem.meta)
    for x, y, query_x, query_y in tensors(problem):
        solved = Inner(meta, problem).solve(x, y)
        loss = outer(problem.name, solved.phi, query_x, query_y)
        (loss / len(problem.tasks)).backward()
    return meta.values.grad


if __name__ == "__main__":
    problems.answer(meta_gradient, {"torchopt": torchopt.__version__, "torch": torch.__version__})
