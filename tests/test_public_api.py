"""What a user can import, and what an import leaves behind."""

import inspect
import re
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import keras_imaml as ki

# A name that is added or goes away is a change for users: say so in CHANGELOG.md.
NAMES = [
    "Evaluation",
    "IMAML",
    "LearnedLoss",
    "LearningRate",
    "MAML",
    "MetaLearner",
    "ProximalStrength",
    "Reptile",
    "SelfTraining",
    "Workers",
    "__version__",
    "check_curvature",
    "copy_features",
    "evaluate",
    "load",
    "parallel_tasks",
    "record_statistics",
    "replace_batch_normalization",
    "seen_in_views",
    "serving_request",
    "strategy",
    "views_of_drawings",
    "views_of_photographs",
    "with_classes",
    "algorithms.Algorithm",
    "algorithms.IMAML",
    "algorithms.MAML",
    "algorithms.MetaGradient",
    "algorithms.ReleasedIMAML",
    "algorithms.Reptile",
    "algorithms.SelfTraining",
    "algorithms.Supervised",
    "callbacks.Checkpoints",
    "callbacks.Dashboard",
    "callbacks.Progress",
    "callbacks.SinusoidPlot",
    "callbacks.StopOnBadTasks",
    "callbacks.StopOnSignal",
    "curvature.CURVATURES",
    "curvature.Curvature",
    "curvature.GaussNewton",
    "curvature.Hessian",
    "curvature.Linearization",
    "data.cifar_fs",
    "data.distorted",
    "data.from_arrays",
    "data.from_folder",
    "data.from_function",
    "data.from_table",
    "data.from_tfds",
    "data.glyphs",
    "data.load_images",
    "data.mini_imagenet",
    "data.omniglot",
    "data.sinusoid",
    "data.unlabelled_sinusoid",
    "data.with_growing_steps",
    "distribution.Workers",
    "distribution.is_chief",
    "distribution.parallel_tasks",
    "distribution.strategy",
    "inner.Adam",
    "inner.Configurable",
    "inner.GradientDescent",
    "inner.InnerProblem",
    "inner.InnerSolution",
    "inner.InnerSolver",
    "inner.LBFGS",
    "inner.NewtonCG",
    "inner.finite",
    "inner.norm",
    "layers.Centering",
    "layers.TaskBatchNormalization",
    "layers.TiedDense",
    "layers.View",
    "linear.ConjugateGradient",
    "linear.Dual",
    "linear.LinearSolution",
    "linear.LinearSolver",
    "linear.Neumann",
    "linear.Nystrom",
    "linear.Status",
    "models.Conv4",
    "models.MLP",
    "models.ResNet12",
    "pretrained.NAMES",
    "pretrained.card",
    "pretrained.load",
]


def find(name):
    value = ki
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_public_names_exist_and_are_documented(name):
    value = find(name)
    assert isinstance(value, str | dict | tuple) or len(inspect.getdoc(value)) > 20


# Protocols and records, which the guides and docs/architecture.md show in use.
SHOWN_ELSEWHERE = {
    *("algorithms.Algorithm", "algorithms.MetaGradient", "curvature.Curvature"),
    *("curvature.GaussNewton", "curvature.Hessian", "curvature.Linearization"),
    *("inner.InnerProblem", "inner.InnerSolution", "inner.InnerSolver"),
    *("linear.LinearSolution", "linear.LinearSolver"),
}


@pytest.mark.parametrize("name", [n for n in NAMES if n not in SHOWN_ELSEWHERE])
def test_public_names_have_an_example(name):  # tests/test_documented_examples.py runs it
    assert not callable(find(name)) or "```python" in inspect.getdoc(find(name))


def test_no_other_names_are_public():
    folders = sorted({name.split(".")[0] for name in NAMES if "." in name})
    public = [name for name in vars(ki) if not name.startswith("_")]
    public += [f"{f}.{name}" for f in folders for name in vars(getattr(ki, f)) if name[0] != "_"]
    assert {n for n in public if not inspect.ismodule(find(n))} == {*NAMES} - {"__version__"}


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|a\d+|b\d+|rc\d+)?", ki.__version__)


@pytest.mark.parametrize(
    "name",
    ["IMAML", "inner.GradientDescent", "linear.ConjugateGradient", "layers.TaskBatchNormalization"]
    + ["MetaLearner", "ProximalStrength"],
)
def test_saved_files_name_classes_by_this_package(name):
    """A file that was saved must load after the module of a class has moved."""
    value = find(name)
    assert keras.saving.get_registered_name(value) == f"keras_imaml>{value.__name__}"


def test_an_import_changes_nothing_in_tensorflow():
    from keras_imaml._compat import grouped_convolution

    assert tf.nn.moments.__module__.startswith("tensorflow.")
    if grouped_convolution._registry is not None:
        registered = grouped_convolution._registry["Conv2D"]
        assert registered.__module__.startswith("tensorflow.")


@pytest.mark.slow
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
