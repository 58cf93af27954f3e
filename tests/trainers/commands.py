"""Command lines, in processes of their own or in this one."""

import contextlib
import io
import pathlib
import subprocess
from unittest import mock

import keras

import keras_imaml as ki
from tests import programs
from trainers import adapt, command_line, evaluate, export, train

ROOT = pathlib.Path(__file__).absolute().parents[2]


def command(name, *flags):
    """What Python is called with."""
    return ["-m", f"trainers.{name}", *map(str, flags)]


def call(name, *flags, **settings):
    return programs.run(command(name, *flags), cwd=ROOT, **settings)


def call_here(name, *flags):
    """The same in this process, whose threads stay as they are: without a start of TensorFlow."""
    program = {"train": train, "evaluate": evaluate, "adapt": adapt, "export": export}[name]
    code, output, errors = 0, io.StringIO(), io.StringIO()
    keras.backend.clear_session(free_memory=False)  # layers get the names of a new process
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(ki, "parallel_tasks"))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        try:
            command_line.run(program.PROGRAM, list(map(str, flags)))
        except SystemExit as error:
            code = error.code
    command = [name, *flags]
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def train_here(*flags):
    """The same for `train`, without the SavedModel at the end of a run, which takes seconds."""
    with mock.patch.object(ki.MetaLearner, "export"):
        return call_here("train", *flags)
