"""How many small faults in the mathematics the tests notice.

    python -m tests.mutants --count=200 --seed=0

Cosmic Ray makes the mutants: a changed operator, comparison, number or condition in one place. A
seeded sample of them is tested, each with the files of tests that mirror its module, in a process
of its own with the changed source in place of the real one; no file is touched. Prints the
survivors and the share that was killed; exit status 1 if that is below --at_least.
"""

import argparse
import ast
import concurrent.futures
import gc
import importlib.machinery
import importlib.util
import os
import pathlib
import random
import resource
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
TESTS = {  # by module, what tests it beside the file of its name
    "keras_imaml/curvature/*.py": ["tests/curvature/test_*.py", "tests/test_all_solvers.py"],
    "keras_imaml/algorithms/implicit_gradient.py": [
        "tests/algorithms/test_imaml.py",
        "tests/test_all_solvers.py",
    ],
    "keras_imaml/inner/*.py": [
        "tests/inner/test_{name}.py",
        "tests/inner/test_step_counts.py",
        "tests/test_all_solvers.py",
    ],
    "keras_imaml/linear/[!c_]*.py": ["tests/linear/test_*.py", "tests/test_all_solvers.py"],
    "keras_imaml/linear/conj*.py": ["tests/linear/test_*.py", "tests/test_all_solvers.py"],
    "keras_imaml/objectives/task_objective.py": [
        "tests/objectives/test_task_objective.py",
        "tests/batching/test_trunk.py",
        "tests/algorithms/test_self_training.py",
    ],
    "keras_imaml/meta_parameters/parameters.py": ["tests/meta_parameters/test_parameters.py"],
    "keras_imaml/learner/meta_batch.py": [
        "tests/learner/test_meta_batch.py",
        "tests/batching/test_trunk.py",
        "tests/learner/test_evaluation.py",
    ],
}
_ARITHMETIC = {"Add", "Sub", "Mul", "Div"}
_LOGIC = {"BitAnd", "BitOr"}  # of masks
_NEUTRAL = ("strict", "parallel_iterations")
_SECONDS = 240  # of the processor, after which a mutant counts as killed: it does not end


class Mutant(NamedTuple):
    """A change in one place of a module."""

    path: str
    operator: str
    occurrence: int
    line: int
    tests: tuple[str, ...]


def all_mutants() -> list[Mutant]:
    """Every mutant of the modules, in a fixed order, without those that change nothing."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    mutants = []
    for pattern, tests in TESTS.items():
        for path in sorted(ROOT.glob(pattern)):
            if path.name == "__init__.py":
                continue
            files = {f for t in tests for f in ROOT.glob(t.format(name=path.stem))}
            # The file of its name first, which notices most.
            ordered = sorted(files, key=lambda f: (f.stem != f"test_{path.stem}", f))
            test_files = tuple(str(f.relative_to(ROOT)) for f in ordered)
            source = path.read_text(encoding="utf-8")
            ignored = _without_effect(source)
            nodes = list(ast_nodes(get_ast(source)))
            for name in sorted(operator_names()):
                operator = get_operator(name)
                if operator.arguments() or not _is_subtle(name):
                    continue
                places = [place for node in nodes for place in operator().mutation_positions(node)]
                for occurrence, (start, _) in enumerate(places):
                    if not any(first <= tuple(start) < end for first, end in ignored):
                        file = str(path.relative_to(ROOT))
                        mutants.append(Mutant(file, name, occurrence, start[0], test_files))
    return mutants


def _is_subtle(operator: str) -> bool:
    """Whether tensors can be computed with the mutant: `a << b` of floats is an error at once."""
    if "ReplaceBinaryOperator" not in operator:
        return True
    pair = set(operator.split("_")[1:])
    return pair <= _ARITHMETIC or pair <= _LOGIC


def _without_effect(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations begin and end, and values of settings that leave results as they are."""
    places = []
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.keyword) and node.arg in _NEUTRAL:
            parts.append(node.value)
        for part in parts:
            if part is not None:
                start = (part.lineno, part.col_offset)
                places.append((start, (part.end_lineno, part.end_col_offset)))
    return places


def mutated(mutant: Mutant) -> str:
    """The source of a mutant."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    return mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from another source than that of its file."""

    source = ""

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the module that is changed."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = mutant.path.removesuffix(".py").replace("/", ".")
        self.loader = _Loader(self.name, str(ROOT / mutant.path))
        self.loader.source = mutated(mutant)

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, loader=self.loader)


def survives(mutant: Mutant) -> bool:
    """Whether all tests of a mutant pass, in a process of its own."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))  # whoever else is busy
        _silence(1)
        _silence(2)
        status = 2
        try:
            import pytest

            sys.meta_path.insert(0, _Finder(mutant))
            arguments = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
            status = int(pytest.main([*arguments, *mutant.tests]))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _silence(descriptor: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, descriptor)
    os.close(silence)


def _import_packages() -> None:
    """Import once, before the forks, what takes long; TensorFlow's own lines are left out."""
    stderr = os.dup(2)
    _silence(2)
    try:
        import keras  # noqa: F401
        import pytest  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def main() -> None:
    """Test a sample and print what survived."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at_least", type=float, default=0.9)
    settings = parser.parse_args()
    os.chdir(ROOT)
    mutants = all_mutants()
    sample = random.Random(settings.seed).sample(mutants, min(settings.count, len(mutants)))
    print(f"{len(sample)} of {len(mutants)} mutants, seed {settings.seed}", flush=True)
    _import_packages()
    gc.freeze()  # pages that are not written to are shared with the forks
    begin, survivors = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(settings.workers) as pool:
        results = {pool.submit(survives, mutant): mutant for mutant in sample}
        for number, result in enumerate(concurrent.futures.as_completed(results), 1):
            mutant = results[result]
            if result.result():
                survivors.append(mutant)
                print(f"survived: {mutant.path}:{mutant.line} {mutant.operator}", flush=True)
            if number % 20 == 0:
                print(f"{number} tested, {len(survivors)} survived", flush=True)
    killed_share = 1 - len(survivors) / len(sample)
    print(f"killed: {killed_share:.1%} of {len(sample)}, in {time.monotonic() - begin:.0f} s")
    raise SystemExit(killed_share < settings.at_least)


if __name__ == "__main__":
    main()
