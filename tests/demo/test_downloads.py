"""What a visitor takes home: models that predict, and lines of Python that make them again."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.pictures.figures import FIGURES, canvas
from trainers import model_files
from trainers.demo import downloads, wave_task
from trainers.demo.image_task import ImageTask

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task():
    image_task = ImageTask("omniglot")
    for name in ("ring", "cross"):
        image_task.add(name, image_task.drawing(canvas(FIGURES[name])))
    return image_task


@pytest.mark.parametrize("format", downloads.FORMATS)
def test_a_model_predicts_as_on_the_page(task, format, tmp_path):
    zipfile.ZipFile(downloads.of_images(task, format)).extractall(tmp_path)
    ending = model_files.ENDINGS[downloads.FORMATS[format]]
    model = model_files.read(str(tmp_path / f"model{ending}"))
    assert model.labels == ("cross", "ring") and model.image_size == 32 and not model.invert
    images, _ = task.support()
    assert np.allclose(model.logits(images), task.model(images), atol=1e-3)


def test_the_downloaded_lines_rebuild_the_model(task, tmp_path):
    zipfile.ZipFile(downloads.of_images(task, "LiteRT")).extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "adapt.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    images, _ = task.support()
    served_model = tf.saved_model.load(str(tmp_path / "model"))
    # Images of 8 bits.
    assert np.allclose(served_model.serve(images), task.model(images), atol=0.05)


def test_a_curve_is_downloaded(tmp_path):
    points = [(-1.0, 2.0), (0.5, -1.0)]
    model, _ = wave_task.adapted(points, 0.5, 4)
    python = downloads.wave_lines(points, 0.5, 4)
    zipfile.ZipFile(downloads.of_waves(model, "SavedModel", python)).extractall(tmp_path)
    x = np.float32([[-1.0], [3.0]])
    served_model = tf.saved_model.load(str(tmp_path / "model"))
    assert np.allclose(served_model.serve(x), model(x), atol=1e-4)
    namespace: dict = {}
    exec(python.rpartition("model.export")[0], namespace)
    assert np.allclose(namespace["model"](x), model(x), atol=1e-3)


def test_an_unknown_format_is_refused(task):
    with pytest.raises(ValueError, match="Choose a format"):
        downloads.of_images(task, json.dumps("pdf"))
