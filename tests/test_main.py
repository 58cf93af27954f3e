"""`python -m keras_imaml`."""

import importlib.metadata
import subprocess
import sys

import pytest

import keras_imaml as ki
from keras_imaml.__main__ import main, report


def test_the_report_names_versions_and_devices():
    lines = report()
    assert lines[0] == f"keras_imaml {ki.__version__}"
    assert f"tensorflow {importlib.metadata.version('tensorflow')}" in lines
    assert lines[-1].startswith("devices ") and "CPU:0" in lines[-1]


def test_the_programs_are_listed_without_arguments(capsys):
    main([])
    assert "--version" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "keras_imaml", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("keras_imaml ")
