"""Every example in a docstring, and every block of Python in the documentation, runs as it is."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.data.glyphs import render
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(ki.__file__).parent  # of a wheel, perhaps
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
IMPORTS = "import keras, tensorflow as tf, keras_imaml as ki, numpy as np\n"

NEEDS_DATA = {
    "keras_imaml/data/cifar_fs.py cifar_fs": "downloads CIFAR-100 (161 MB)",
    "keras_imaml/data/from_tfds.py from_tfds": "downloads EuroSAT (90 MB)",
    "keras_imaml/data/mini_imagenet.py mini_imagenet": "reads images that cannot be downloaded",
    "keras_imaml/data/omniglot.py omniglot": "downloads Omniglot (17 MB)",
}
SLOW = {
    "README.md 2",
    "docs/learners.md 1",
    "keras_imaml/algorithms/self_training.py SelfTraining",
    "keras_imaml/data/distorted.py distorted",
    "keras_imaml/data/glyphs.py glyphs",
    "keras_imaml/data/growing_steps.py with_growing_steps",
    "keras_imaml/learner/curvature_check.py check_curvature",
    "keras_imaml/learner/evaluation.py evaluate",
    "keras_imaml/pretrained/learners.py load",
    "keras_imaml/recipes/record_statistics.py record_statistics",
    "keras_imaml/recipes/replace_batch_normalization.py replace_batch_normalization",
}
SMALLER = {  # what the reader is told to run for minutes, by fewer steps
    "README.md 1": {
        "steps_per_epoch=100, epochs=6": "steps_per_epoch=2",
        "num_tasks=600": "num_tasks=16",
        "filters=32": "filters=4",
    },
    "docs/faq.md 2": {"(0, 5, 16, 64)": "(0, 3)", ", tasks))": ", tasks, num_tasks=8))"},
    "docs/faq.md 3": {"steps_per_epoch=10": "steps_per_epoch=2"},
    "docs/tensorboard.md 1": {
        "steps_per_epoch=100, epochs=6": "steps_per_epoch=2",
        "batch(8)": "batch(2)",
        'glyphs("test").batch(16))': 'glyphs("test").batch(4), num_tasks=8)',
    },
    "keras_imaml/algorithms/self_training.py SelfTraining": {
        "balanced=True": "balanced=True, rounds=2"
    },
    "docs/distribution.md 1": {
        "steps_per_epoch=100, epochs=10": "steps_per_epoch=2",
        "Conv4(5)": "Conv4(5, filters=4)",
        "batch(16)": "batch(4)",
    },
}
# A block of a page that reads one of these without making it continues the program of its reader.
OF_THE_READER = {"learner", "tasks", "model", "support_x", "support_y", "query_x", "query_y"}
READER = """
tasks = ki.data.glyphs("train", query=2).batch(4)
inner = ki.inner.GradientDescent(steps=2, learning_rate=0.1)
learner = ki.MetaLearner(ki.models.Conv4(5, filters=2), ki.IMAML(0.2, inner))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
learner.compile("adam", loss, metrics=["accuracy"])
(support_x, support_y), (query_x, query_y) = next(iter(ki.data.glyphs("test", query=2)))
weights = np.ones(5, "float32")
"""
EXPORTED = 'learner.export("exports/glyphs")\n'  # by the command above the block
FIRST_OF_ALL = ("ki.parallel_tasks(", "ki.strategy(")  # only before TensorFlow has started


def examples():
    """Name and code of each."""
    for path in sorted(PACKAGE.rglob("*.py")):
        source = f"keras_imaml/{path.relative_to(PACKAGE).as_posix()}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for code in FENCE.findall(ast.get_docstring(node) or ""):
                    yield f"{source} {getattr(node, 'name', 'module')}", code
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if path.name == "examples.md":  # tests/test_examples.py runs its sections
            continue
        for number, code in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), start=1):
            yield f"{path.relative_to(ROOT)} {number}", code


def of_the_reader(name, code):
    """What a block of a page (a docstring has to be whole) takes from the program of its reader."""
    names = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    assigned_names = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    reader_names = {node.id for node in names} & OF_THE_READER - assigned_names
    return reader_names if ".md " in name else set()


def parameters():
    for name, code in examples():
        marks = []
        if name in NEEDS_DATA:
            marks.append(pytest.mark.skip(reason=NEEDS_DATA[name]))
        for long, short in SMALLER.get(name, {}).items():
            assert long in code, f"{name} no longer has {long!r}"
            code = code.replace(long, short)
        continued = of_the_reader(name, code)
        if continued:
            code = READER + (EXPORTED if "exports/glyphs" in code else "") + code
        if (
            continued
            or name in SLOW
            or any(text in code for text in (".fit(", ".search(", ".export(", *FIRST_OF_ALL))
        ):
            marks.append(pytest.mark.slow)
        yield pytest.param(code, id=name, marks=marks)


@pytest.fixture
def folder(tmp_path, monkeypatch, two_blocks):
    """The working directory of an example, with the folders and images that some of them read."""
    for name in ("cat", "dog", "fox", "who"):
        photograph = tf.zeros([90, 120, 3], tf.uint8)
        (tmp_path / f"{name}.jpg").write_bytes(tf.io.encode_jpeg(photograph).numpy())
    for place, first, classes, count in (("birds/train", 0, 5, 16), ("my_task", 5, 2, 1)):
        for number, drawings in enumerate(render(first, classes, count)):
            path = tmp_path / place / f"class_{number}"
            path.mkdir(parents=True)
            for index, drawing in enumerate(drawings):
                png = tf.io.encode_png(drawing[..., None]).numpy()
                (path / f"{index}.png").write_bytes(png)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.first_step_checked
@pytest.mark.parametrize("code", list(parameters()))
def test_example(code, folder):
    if any(text in code for text in FIRST_OF_ALL):
        programs.run(["-c", IMPORTS + programs.TWO_BLOCKS + code], check=True)
    else:
        exec(code, {"keras": keras, "tf": tf, "ki": ki, "np": np})


def test_skipped_and_smaller_examples_exist():
    assert {*NEEDS_DATA, *SMALLER, *SLOW} <= {name for name, _ in examples()}
