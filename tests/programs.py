"""Programs in processes of their own, which begin where TensorFlow has been imported.

An import takes four seconds. Each process is forked from one that has imported the package and has
used nothing of it. What a test says about the start of Python or an import needs `subprocess`.
"""

import atexit
import contextlib
import io
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from typing import Any

# Begins code whose `ki.models.Conv4` has half the depth, as in the fixtures of tests/conftest.py.
TWO_BLOCKS = "from keras_imaml.models import conv4; conv4._BLOCKS = 2\n"

_ROOT = pathlib.Path(__file__).parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.imported"])


class Program:
    """The part of `subprocess.Popen` that tests need, with texts.

    Args:
        words: As for Python: `-m`, a module and its arguments; or `-c`, code and its arguments.
        cwd: The working directory.
        stderr: `subprocess.STDOUT` to mix errors into the output.
        preexec_fn: A function of a module, called first.
        shortcuts: Do without what most tests do without (`tests.shortcuts`): for tests of what
            happens to processes.
    """

    def __init__(
        self,
        words: Sequence[Any],
        cwd: Any = None,
        stderr: int | None = None,
        preexec_fn: Callable[[], Any] | None = None,
        shortcuts: bool = False,
    ) -> None:
        self.args = [str(word) for word in words]
        _start_server()
        reader, writer = _CONTEXT.Pipe(duplex=False)
        self._folder = tempfile.TemporaryDirectory()
        self._errors = pathlib.Path(self._folder.name, "errors.txt")
        self._errors.touch()
        path = None if stderr == subprocess.STDOUT else str(self._errors)
        settings = str(cwd or os.getcwd()), path, preexec_fn, shortcuts
        self._process = _CONTEXT.Process(target=_run, args=(self.args, writer, *settings))
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    @property
    def returncode(self) -> int | None:
        """As of `subprocess`: minus the number of the signal that ended it; None if it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its output, and all errors, once it has ended."""
        watch = threading.Timer(timeout or 600.0, self.kill)
        watch.start()
        output = self.stdout.read()
        self.wait(timeout)
        watch.cancel()
        return output, self._errors.read_text(encoding="utf-8")


def _start_server() -> None:
    """Where `tests` is this folder, and not a package of that name that some other one installs."""
    cwd = os.getcwd()
    os.chdir(_ROOT)
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(cwd)


def run(words: Sequence[Any], check: bool = False, **settings: Any) -> subprocess.CompletedProcess:
    """What `subprocess.run` gives, with texts of both outputs."""
    program = Program(words, **settings)
    output, errors = program.communicate()
    if check and program.returncode:
        raise AssertionError(f"{program.args} ended with {program.returncode}: {output}{errors}")
    return subprocess.CompletedProcess(program.args, program.returncode, output, errors)


def _run(
    words: list[str],
    output: Any,
    cwd: str,
    errors: str | None,
    before: Callable[[], Any] | None,
    shortcuts: bool,
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.dup2(output.fileno(), 1)
    target = os.open(errors, os.O_WRONLY) if errors else 1
    os.dup2(target, 2)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), line_buffering=number == 2)
        for number in (1, 2)
    )
    if before is not None:
        before()
    if shortcuts:
        from tests.shortcuts import take_all

        take_all()
    kind, program, *arguments = words
    sys.argv = [program if kind == "-m" else "-c", *arguments]
    sys.path.insert(0, cwd)
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
