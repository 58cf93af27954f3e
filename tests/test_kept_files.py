"""Files that an earlier version wrote still load and give the same numbers."""

import json
import pathlib
import re
import shutil
import zipfile

import keras
import numpy as np
import pytest
from packaging.version import Version

import keras_imaml as ki
from tests import programs

KEPT = pathlib.Path(__file__).parent / "kept"
with zipfile.ZipFile(KEPT / "learner.keras") as archive:
    WRITER = json.loads(archive.read("metadata.json"))["keras_version"]
pytestmark = pytest.mark.skipif(
    Version(keras.__version__).release[:2] < Version(WRITER).release[:2],
    reason=f"Keras {WRITER} wrote the files, which an older one cannot load",
)


@pytest.fixture(scope="module")
def expected():
    with np.load(KEPT / "expected.npz") as arrays:
        return dict(arrays)


def test_a_learner_loads(expected):
    learner = keras.models.load_model(KEPT / "learner.keras")
    assert isinstance(learner, ki.MetaLearner)
    x, y = expected["support_x"], expected["support_y"]
    np.testing.assert_allclose(learner(x), expected["theta"], atol=1e-6)
    np.testing.assert_allclose(learner.adapt(x, y)(x), expected["adapted"], atol=1e-5)


def test_weights_of_a_learner_load(expected):
    learner = keras.models.load_model(KEPT / "learner.keras")
    for variable in learner.model.trainable_variables:
        variable.assign(variable * 0)
    learner.load_weights(KEPT / "learner.weights.h5")
    np.testing.assert_allclose(learner(expected["support_x"]), expected["theta"], atol=1e-6)


def test_an_adapted_model_loads_without_this_package(expected):
    adapted = keras.models.load_model(KEPT / "adapted.keras")
    np.testing.assert_allclose(adapted(expected["support_x"]), expected["adapted"], atol=1e-6)


@pytest.mark.slow
def test_a_run_folder_is_evaluated(tmp_path):
    shutil.copytree(KEPT / "run", tmp_path / "run")
    command = ["-m", "trainers.evaluate", f"--run_dir={tmp_path / 'run'}"]
    result = programs.run([*command, "--tasks=600"], check=True)
    kept = json.loads((KEPT / "run" / "result.json").read_text(encoding="utf-8"))
    loss = float(re.search(r"query loss ([\d.]+)", result.stdout)[1])
    assert loss == pytest.approx(kept["loss"], abs=1e-3)
