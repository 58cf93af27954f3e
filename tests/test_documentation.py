"""The guides run, their notebooks are made of them, and the site is built without a broken link."""

import os
import pathlib
import shutil
import subprocess
import sys

import nbformat
import pytest
import tensorflow as tf

from docs.notebooks import GUIDES, notebook

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
    made = nbformat.read(GUIDES / f"{name}.ipynb", as_version=4)
    nbformat.validate(made)
    cells = [(cell.id, cell.cell_type, cell.source) for cell in made.cells]
    expected = [
        (cell.id, cell.cell_type, cell.source) for cell in notebook(GUIDES / f"{name}.py").cells
    ]
    assert cells == expected, f"run: python -m docs.notebooks {name}"
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    assert outputs and all(output.output_type == "stream" for output in outputs)
    assert sum(len(output.text) for output in outputs) < 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_guide_runs(name, tmp_path, request):
    if name == "omniglot_honestly":
        request.getfixturevalue("published_data")
    run_guide(name, tmp_path, check=True)


def run_guide(name, folder, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("variables", {})}
    guide = GUIDES / f"{name}.py"
    return subprocess.run(
        [sys.executable, str(guide)], cwd=folder, env=environment, text=True, **options
    )


@pytest.mark.slow
def test_the_guide_to_omniglot_says_that_the_data_is_missing(tmp_path):
    # A file in the place of the folder: nothing can be downloaded there.
    (tmp_path / "data").touch()
    variables = {"KERAS_IMAML_DATA_DIR": str(tmp_path / "data")}
    result = run_guide("omniglot_honestly", tmp_path, variables=variables, stderr=subprocess.PIPE)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "OSError: The data set `omniglot` is not in data_dir=" in last
    assert "tfds build omniglot" in last


@pytest.mark.slow
def test_the_picture_of_the_readme_is_drawn(tmp_path, published_data):
    pytest.importorskip("PIL")
    file = tmp_path / "hero.png"
    arguments = [f"--data_dir={published_data}", f"--output={file}"]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.pictures.hero", *arguments], cwd=ROOT, check=True
    )
    drawn, kept = (
        tf.io.decode_png(path.read_bytes())
        for path in (file, ROOT / "docs" / "images" / "hero.png")
    )
    assert drawn.shape == kept.shape
    assert bool(tf.reduce_all(drawn[48:] == kept[48:]))  # below the titles, whose font may differ


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


@pytest.mark.slow
def test_the_site_is_built(site):
    status, log = build(site)
    assert status == 0, log
    pages = site / "build" / "site"
    assert "Learn weights from which" in (pages / "api/keras_imaml/index.html").read_text("utf-8")
    assert (pages / "benchmarks/results/figure2/figure2.png").stat().st_size > 0
    assert "InnerProblem" in (
        pages / "keras_imaml/objectives/inner_problem.py/index.html"
    ).read_text("utf-8")
    start = (pages / "index.html").read_text("utf-8")
    assert 'src="http' not in start and "fonts.g" not in start  # works without a network


@pytest.mark.slow
@pytest.mark.parametrize(
    "link",
    [
        "[gone](no-such-page.md)",
        "[gone](../keras_imaml/no_such_module.py)",
        "![gone](../benchmarks/results/no_such_plot.png)",
        "[gone](how-to-choose.md#no-such-heading)",
        "[gone]\n\n[gone]: ../keras_imaml/no_such_module.py",
    ],
)
def test_a_broken_link_fails_the_build(site, link):
    with (site / "docs" / "results.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{link}\n")
    status, log = build(site)
    assert status == 1
    assert "WARNING" in log and ("no_such" in log or "no-such" in log), log
