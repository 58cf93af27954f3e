"""Runs one file of tests under Bazel: the target `//:tests/x/test_y` runs `tests/x/test_y.py`."""

import os
import sys

import pytest


class _Deselected:
    """Tells a file whose tests were all left out by `-m` from a file without tests."""

    count = 0

    def pytest_deselected(self, items):
        self.count += len(items)


def main() -> int:
    target = os.environ["TEST_TARGET"]
    file = target.partition("//:")[2] + ".py"
    deselected = _Deselected()
    arguments = [file, "-p", "no:cacheprovider", "--junit-xml", os.environ["XML_OUTPUT_FILE"]]
    status = pytest.main([*arguments, *sys.argv[1:]], plugins=[deselected])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED and deselected.count:
        return 0
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
