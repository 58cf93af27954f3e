"""The guides run, their notebooks are made of them, and the site is built without a broken link."""

import functools
import os
import pathlib
import runpy
import shutil
import subprocess
import sys

import keras
import nbformat
import pytest
import tensorflow as tf

import keras_imaml as ki
from docs.notebooks import GUIDES, notebook
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
NAMES = sorted(path.stem for path in GUIDES.glob("*.py"))
SITE = (
    "mkdocs.yml",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "CITATION.cff",
    "CONTRIBUTING.md",
)
FOLDERS = ("docs", "keras_imaml", "trainers", "benchmarks/results", "saved_models", "tests")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_the_cells_of_its_guide(name):
    document = nbformat.read(GUIDES / f"{name}.ipynb", as_version=4)
    nbformat.validate(document)
    cells = [(cell.id, cell.cell_type, cell.source) for cell in document.cells]
    expected = [
        (cell.id, cell.cell_type, cell.source) for cell in notebook(GUIDES / f"{name}.py").cells
    ]
    assert cells == expected, f"run: python -m docs.notebooks {name}"
    outputs = [output for cell in document.cells for output in cell.get("outputs", [])]
    assert outputs and all(output.output_type == "stream" for output in outputs)
    assert sum(len(output.text) for output in outputs) < 5000


def capped(function, **limits):
    def call(*arguments, **settings):
        small = {k: min(settings[k], most) for k, most in limits.items() if settings.get(k)}
        return function(*arguments, **{**settings, **small})

    return call


@pytest.fixture
def few_steps(monkeypatch, two_blocks):
    """Few steps of small networks: the notebook of a guide holds what all of it prints."""
    omniglot = functools.cache(ki.data.omniglot)
    smallest = lambda split, seed, **settings: omniglot("validation", **settings)  # noqa: E731
    monkeypatch.setattr(ki.data, "omniglot", smallest)
    monkeypatch.setattr(ki.models, "Conv4", capped(ki.models.Conv4, filters=4))
    monkeypatch.setattr(
        ki.MetaLearner, "fit", capped(ki.MetaLearner.fit, steps_per_epoch=2, epochs=2)
    )
    monkeypatch.setattr(ki.inner, "NewtonCG", capped(ki.inner.NewtonCG, steps=5, linear_steps=10))
    monkeypatch.setattr(ki, "evaluate", capped(ki.evaluate, num_tasks=8))
    monkeypatch.setattr(keras.Sequential, "fit", capped(keras.Sequential.fit, epochs=1))
    monkeypatch.setattr(ki, "parallel_tasks", lambda: None)  # the threads have been started


@pytest.mark.slow
@pytest.mark.first_step_checked
@pytest.mark.parametrize("name", NAMES)
def test_a_guide_runs(name, tmp_path, monkeypatch, request, few_steps):
    if name == "omniglot_honestly":
        request.getfixturevalue("published_data")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(GUIDES / f"{name}.py"), run_name="__main__")


@pytest.mark.slow
def test_the_guide_to_omniglot_says_that_the_data_is_missing(tmp_path):
    """A program of its own, as a reader starts it."""
    # A file in the place of the folder: nothing can be downloaded there.
    (tmp_path / "data").touch()
    variables = {"PYTHONPATH": str(ROOT), "KERAS_IMAML_DATA_DIR": str(tmp_path / "data")}
    result = subprocess.run(
        [sys.executable, GUIDES / "omniglot_honestly.py"],
        cwd=tmp_path,
        env={**os.environ, **variables},
        text=True,
        stderr=subprocess.PIPE,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "OSError: The data set `omniglot` is not in data_dir=" in last
    assert "tfds build omniglot" in last


@pytest.mark.slow
def test_the_picture_of_the_readme_is_drawn(tmp_path, published_data):
    pytest.importorskip("PIL")
    file = tmp_path / "hero.png"
    arguments = [f"--data_dir={published_data}", f"--output={file}"]
    programs.run(["-m", "benchmarks.pictures.hero", *arguments], cwd=ROOT, check=True)
    picture, expected = (
        tf.io.decode_png(path.read_bytes())
        for path in (file, ROOT / "docs" / "images" / "hero.png")
    )
    assert picture.shape == expected.shape
    # Below the titles, whose font may differ.
    assert bool(tf.reduce_all(picture[48:] == expected[48:]))


@pytest.fixture
def site(tmp_path):
    """What the site is made of, to be changed."""
    root = tmp_path / "repository"
    root.mkdir()
    for file in SITE:
        shutil.copy(ROOT / file, root)
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__", "*.data-*")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
    return root


def build(root):
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"], cwd=root, text=True, stderr=subprocess.PIPE
    )
    return result.returncode, result.stderr


BROKEN = (
    "[gone](no-such-page.md)",
    "[gone](../keras_imaml/no_such_module.py)",
    "![gone](../benchmarks/results/no_such_plot.png)",
    "[gone](how-to-choose.md#no-such-heading)",
    "[gone by name]\n\n[gone by name]: ../keras_imaml/no_such_name.py",
)


@pytest.mark.slow
def test_the_site_is_built_and_each_broken_link_fails_the_build(site):
    """Without the broken links nothing would fail: there is a warning for each, and no other."""
    with (site / "docs" / "results.md").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n\n".join(BROKEN) + "\n")
    status, log = build(site)
    assert status == 1
    warnings = [line for line in log.splitlines() if line.startswith("WARNING")]
    names = ("no-such-page", "no_such_module", "no_such_plot", "no-such-heading", "no_such_name")
    for target in names:
        assert sum(target in line for line in warnings) == 1, log
    assert len(warnings) == len(names), log
    pages = site / "build" / "site"
    assert "Learn weights from which" in (pages / "api/keras_imaml/index.html").read_text("utf-8")
    assert (pages / "benchmarks/results/figure2/figure2.png").stat().st_size > 0
    assert "InnerProblem" in (
        pages / "keras_imaml/objectives/inner_problem.py/index.html"
    ).read_text("utf-8")
    start = (pages / "index.html").read_text("utf-8")
    assert 'src="http' not in start and "fonts.g" not in start  # works without a network
