"""The files of tests that the change at hand touches.

    python -m tests.changed            changes since the last commit
    python -m tests.changed main       changes since a revision

Prints the changed files of tests, and for each changed module the file that mirrors it and the
files that import the module themselves. Modules that these import in turn do not count: the whole
suite is for that.
"""

import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).parents[1]
_TABLES = {  # by folder, the file that runs over everything in it
    "keras_imaml/algorithms": "tests/algorithms/test_all_algorithms.py",
    "keras_imaml/inner": "tests/test_all_solvers.py",
    "keras_imaml/linear": "tests/test_all_solvers.py",
}


def changed_files(revision: str) -> set[str]:
    """Files that differ from a revision, and those that git does not know yet."""
    commands = (["diff", "--name-only", revision], ["ls-files", "--others", "--exclude-standard"])
    return {
        line
        for command in commands
        for line in subprocess.run(
            ["git", *command], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
    }


def files_for(files: Iterable[str]) -> list[str]:
    """The files of tests to run for these changed files."""
    sources = {
        path.relative_to(ROOT): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    chosen = set()
    for file in map(pathlib.PurePosixPath, files):
        if file.suffix != ".py":
            continue
        mirror = pathlib.Path("tests", *file.parts[1:-1], f"test_{file.name}")
        nested = pathlib.Path("tests", *file.parts[:-1], f"test_{file.name}")
        flat = pathlib.Path("tests", f"test_{'_'.join(file.with_suffix('').parts)}.py")
        chosen |= {path for path in (pathlib.Path(file), mirror, nested, flat) if path in sources}
        if str(file.parent) in _TABLES:
            chosen.add(pathlib.Path(_TABLES[str(file.parent)]))
        imports = _imports(file)
        chosen |= {path for path, source in sources.items() if imports.search(source)}
    return [str(path) for path in sorted(chosen)]


def _imports(file: pathlib.PurePosixPath) -> re.Pattern:
    """How a file of tests names a module that it imports."""
    *package, name = (re.escape(part) for part in file.with_suffix("").parts)
    dotted = r"\.".join(package)
    statement = rf"(from|import) {dotted}\.{name}\b"
    return re.compile(
        rf"{statement}|from {dotted} import (\([^)]*|[^\n]*)\b{name}\b" if package else statement
    )


if __name__ == "__main__":
    print("\n".join(files_for(changed_files(*(sys.argv[1:] or ["HEAD"])))))
