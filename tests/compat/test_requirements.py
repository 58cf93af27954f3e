"""What is missing is said at import, with the remedy."""

import os
import subprocess
import sys

import keras
import pytest

from keras_imaml._compat import requirements


def test_the_present_environment_passes():
    requirements.check()


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_other_backends_are_refused_with_the_remedy(monkeypatch, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ImportError, match=f"Received: '{backend}'.*KERAS_BACKEND=tensorflow"):
        requirements.check()


def test_keras_2_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ImportError, match="keras 2.15.0.*pip install --upgrade keras"):
        requirements.check()


@pytest.mark.slow
def test_the_check_is_the_first_thing_that_an_import_does():
    script = """
import sys, types
keras = types.ModuleType("keras")
keras.__version__ = "3.15.0"
keras.backend = types.SimpleNamespace(backend=lambda: "torch")
sys.modules["keras"] = keras
import keras_imaml
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode != 0
    assert "Received: 'torch'. Set the environment variable" in result.stderr
    assert "KERAS_BACKEND=tensorflow" in result.stderr


@pytest.mark.slow
def test_a_backend_that_is_not_installed_is_refused_with_the_remedy():
    script = """
import sys
sys.modules["jax"] = None  # as if it were not installed
import keras_imaml
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert "Received: 'jax'. Set the environment variable" in result.stderr
