"""What a user can import, and what an import leaves behind."""

import inspect
import re
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import keras_imaml as ki

NAMES = [
    "Evaluation",
    "IMAML",
    "MetaLearner",
    "ProximalStrength",
    "__version__",
    "callbacks.Checkpoints",
    "callbacks.Dashboard",
    "callbacks.Progress",
    "data.cifar_fs",
    "data.from_arrays",
    "data.from_folder",
    "data.from_function",
    "data.glyphs",
    "data.mini_imagenet",
    "data.omniglot",
    "data.sinusoid",
    "evaluate",
    "inner.GradientDescent",
    "inner.InnerSolution",
    "inner.InnerSolver",
    "layers.TaskBatchNormalization",
    "linear.ConjugateGradient",
    "linear.LinearSolution",
    "linear.LinearSolver",
    "linear.Status",
    "models.Conv4",
    "models.MLP",
    "models.ResNet12",
]


def find(name):
    found = ki
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_there_and_documented(name):
    found = find(name)
    assert isinstance(found, str) or len(inspect.getdoc(found)) > 20


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|a\d+|b\d+|rc\d+)?", ki.__version__)


@pytest.mark.parametrize(
    "name",
    ["IMAML", "inner.GradientDescent", "linear.ConjugateGradient", "layers.TaskBatchNormalization"]
    + ["MetaLearner", "ProximalStrength"],
)
def test_saved_files_name_classes_by_this_package(name):
    """A file that was saved must load after the module of a class has moved."""
    found = find(name)
    assert keras.saving.get_registered_name(found) == f"keras_imaml>{found.__name__}"


def test_an_import_changes_nothing_in_tensorflow():
    from keras_imaml._compat import grouped_convolution

    assert tf.nn.moments.__module__.startswith("tensorflow.")
    if grouped_convolution._registry is not None:
        registered = grouped_convolution._registry["Conv2D"]
        assert registered.__module__.startswith("tensorflow.")


def test_the_import_brings_nothing_that_only_some_need():
    code = (
        "import sys, keras_imaml;"
        "heavy = {'tensorflow_datasets', 'tensorboard.plugins.hparams'};"
        "import tensorflow, keras; print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
