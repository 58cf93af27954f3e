"""Every file of tests and every program has a target in BUILD, whatever is added."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def targets():
    """The sources of the targets of BUILD by name.

    Starlark is a subset of Python: reading the file is calling functions of our own.
    """
    sources = {}

    def rule(name, srcs=(), **_):
        sources[name] = list(srcs)

    def glob(include, exclude=(), **_):
        matches = {path for pattern in include for path in ROOT.glob(pattern)}
        matches -= {path for pattern in exclude for path in ROOT.glob(pattern)}
        return sorted(str(path.relative_to(ROOT)) for path in matches)

    scope = dict.fromkeys(("py_library", "py_binary", "py_test"), rule)
    scope |= {name: lambda *_, **__: None for name in ("load", "package")}
    scope["glob"] = glob
    for file in ("pytest.bzl", "BUILD"):
        exec(compile((ROOT / file).read_text(encoding="utf-8"), file, "exec"), scope)
    return sources


def test_every_file_of_tests_has_a_target(targets):
    for path in ROOT.glob("tests/**/test_*.py"):
        file = str(path.relative_to(ROOT))
        assert targets[file.removesuffix(".py")] == [file, "tests/run_pytest.py"]


def test_every_module_is_in_a_library(targets):
    for folder in ("keras_imaml", "trainers", "benchmarks"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}
        assert files == set(targets[folder])


def test_every_program_has_a_binary(targets):
    for path in (ROOT / "trainers").glob("*.py"):
        if "if __name__ ==" in path.read_text(encoding="utf-8"):
            assert targets[f"trainers/{path.stem}"] == [f"trainers/{path.name}"]


def test_all_files_exist(targets):
    for name, files in targets.items():
        for file in files:
            assert (ROOT / file).exists(), f"{name} in BUILD names {file}, which does not exist"
