"""Betty's `ImplicitProblem` with a Neumann series.

Its conjugate gradient takes each direction from the residual of the step before, and its results
are off by a quarter and more on these problems. The series converges to the exact ones.

.venv-peers/bin/python -m benchmarks.accuracy.peers.betty_problem
"""

import contextlib
import importlib.metadata
import io

import torch
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem

from benchmarks.accuracy.peers import problems
from benchmarks.accuracy.peers.torch_objectives import Vector, inner, outer, tensors

_STEPS = 2000


def meta_gradient(problem: problems.Problem) -> torch.Tensor:
    """The mean over tasks: what a step of length one takes off the meta-parameters."""
    return sum(_of_task(problem, task) for task in tensors(problem)) / len(problem.tasks)


def _of_task(problem, task):
    x, y, query_x, query_y = task

    class Outer(ImplicitProblem):
        def training_step(self, batch):
            return outer(problem.name, self.inner(), *batch)

        def get_batch(self):
            return query_x, query_y

    class Inner(ImplicitProblem):
        def training_step(self, batch):
            return inner(problem.name, self(), self.outer(), *batch)

        def get_batch(self):
            return x, y

    meta, phi = Vector(problem.meta), Vector(problem.start)
    upper = Outer("outer", Config(), meta, torch.optim.SGD(meta.parameters(), lr=1.0), device="cpu")
    lower = Inner(
        "inner",
        Config(
            type="neumann",
            unroll_steps=_STEPS,
            neumann_iterations=_STEPS,
            neumann_alpha=problem.rate,
        ),
        phi,
        torch.optim.SGD(phi.parameters(), lr=problem.rate),
        device="cpu",
    )
    dependencies = {"u2l": {upper: [lower]}, "l2u": {lower: [upper]}}
    with contextlib.redirect_stdout(io.StringIO()):
        Engine(
            problems=[upper, lower],
            config=EngineConfig(train_iters=_STEPS),
            dependencies=dependencies,
        ).run()
    return torch.tensor(problem.meta) - meta.values.detach()


if __name__ == "__main__":
    version = importlib.metadata.version("betty-ml")
    problems.answer(meta_gradient, {"betty-ml": version, "torch": torch.__version__})
