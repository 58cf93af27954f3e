"""Files of tests that pytest runs, as targets of Bazel."""

load("@rules_python//python:defs.bzl", "py_test")

def pytest_tests(files, deps, data):
    """Makes one target for each file of tests, named after it.

    Args:
      files: The files.
      deps: What they import.
      data: What they read.
    """
    for file in files:
        py_test(
            name = file[:-len(".py")],
            srcs = [file, "tests/run_pytest.py"],
            main = "tests/run_pytest.py",
            data = data,
            deps = deps,
        )
