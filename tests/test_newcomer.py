"""From the README to an adapted model of one's own images, by the links and commands of the pages.

CONTRIBUTING.md holds the path, with the minutes that each page takes.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from trainers import __main__ as console

ROOT = pathlib.Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| (\S+\.md) \| (\S*) ?\|$", re.MULTILINE)
MOST_MINUTES = 15
SHAPES = ("cross", "disk", "frame", "stripes", "wedge")


def path_of_a_newcomer():
    """Minutes, page and next link of each row."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return ROW.findall(text)


def section(page, anchor):
    """The text below a heading, up to the next one of its level."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading = part.splitlines()[0]
        if re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") == anchor:
            return part
    raise AssertionError(f"{page} has no heading #{anchor}")


def test_each_page_links_to_the_next():
    rows = path_of_a_newcomer()
    assert rows[0][1] == "README.md" and rows[-1][2] == ""
    assert sum(int(minutes) for minutes, *_ in rows) <= MOST_MINUTES
    for (_, page, link), (_, following, _) in zip(rows, rows[1:], strict=False):
        target, anchor = link.split("#")
        assert target == following
        relative = os.path.relpath(ROOT / target, (ROOT / page).parent)
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"]({relative}#{anchor})" in text, f"{page} has no link to {link}"
        assert section(target, anchor)
    pages = [page for _, page, _ in rows]
    assert len(set(pages)) == len(pages)


def drawing(shape, rng):
    """A dark shape somewhere on light paper, uint8 `[90, 90, 3]`."""
    row, column = np.mgrid[:90, :90] - rng.integers(38, 52, (2, 1, 1))
    size = rng.integers(20, 30)
    inside = np.maximum(abs(row), abs(column)) < size
    ink = {
        "cross": inside & (np.minimum(abs(row), abs(column)) < 6),
        "disk": row**2 + column**2 < size**2,
        "frame": inside & (np.maximum(abs(row), abs(column)) > size - 7),
        "stripes": inside & (row % 14 < 7),
        "wedge": inside & (row > column),
    }[shape]
    paper, pen = rng.integers(180, 256, 3), rng.integers(0, 100, 3)
    return np.where(ink[..., None], pen, paper).astype("uint8")


@pytest.fixture
def images(tmp_path):
    """Five class folders with five drawings each, and another drawing of each class by name."""
    rng = np.random.default_rng(0)
    queries = {}
    for shape in SHAPES:
        folder = tmp_path / "MY_CLASSES" / shape
        folder.mkdir(parents=True)
        files = [folder / f"{number}.png" for number in range(5)]
        queries[f"{shape}.png"] = shape
        for file in [*files, tmp_path / f"{shape}.png"]:
            file.write_bytes(tf.io.encode_png(drawing(shape, rng)).numpy())
    return queries


@pytest.mark.slow
def test_the_commands_make_a_model_of_drawn_images(tmp_path, images, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ki, "parallel_tasks", lambda cores=None: None)  # TensorFlow has started
    page = section("docs/demo.md", "your-photographs-in-two-commands")
    adapt, predict = (
        shlex.split(line)[1:] for line in re.findall(r"^    (keras-imaml .+)$", page, re.MULTILINE)
    )
    console.main(adapt)
    assert "Adapted to 25 images of 5 classes." in capsys.readouterr().out
    # A program of its own, as a reader starts it: it prints the table alone.
    command = [sys.executable, "-m", "trainers", *predict[:2], *images]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    answers = dict(line.split()[:2] for line in done.stdout.splitlines()[1:])
    assert answers == images
    # The page shows this table; probabilities depend slightly on the kernels of the CPU.
    shown, printed = (
        [line.split()[:4] for line in text.splitlines() if line.endswith("%")]
        for text in (page, done.stdout)
    )
    assert [row[:3] for row in shown] == [row[:3] for row in printed]
    best = [[float(row[3]) for row in rows] for rows in (shown, printed)]
    np.testing.assert_allclose(*best, atol=2)


@pytest.mark.slow
def test_the_python_of_the_path_makes_the_same_model(tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part = section("README.md", "start-from-a-trained-learner")
    (code,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    for name in ("cat", "dog", "fox"):
        shape = {"cat": "cross", "dog": "disk", "fox": "frame"}[name]
        os.link(tmp_path / "MY_CLASSES" / shape / "0.png", f"{name}.jpg")
    os.link("disk.png", "who.jpg")
    predicted = []
    exec(code, {"print": predicted.append})
    assert predicted == [1]
    names = {"learner": ki.load("mini_imagenet", classes=2)}
    files = [tmp_path / "MY_CLASSES" / shape / "0.png" for shape in SHAPES[:2]]
    names["support_x"], names["support_y"] = (
        ki.data.load_images(files, image_size=64),
        np.arange(2),
    )
    export = section("docs/export.md", "a-model-of-one-task")
    (code,) = re.findall(r"```python\n(.*?)```", export, re.DOTALL)
    exec("\n".join(code.splitlines()[:3]), names)  # further formats: tests/export
    served = tf.saved_model.load("my_task")
    query = ki.data.load_images(["disk.png"], image_size=64)
    expected = names["model"].predict(query, verbose=0)
    np.testing.assert_allclose(served.serve(query).numpy(), expected, rtol=1e-4, atol=1e-4)
