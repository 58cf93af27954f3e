"""The console command: programs by name, presets by name, learners of the package, predictions."""

import json

import keras
import numpy as np
import pytest

import keras_imaml as ki
from tests.trainers.commands import ROOT
from trainers import __main__ as console
from trainers import tokens


@pytest.fixture(autouse=True)
def _threads_as_they_are(monkeypatch):
    monkeypatch.setattr(ki, "parallel_tasks", lambda cores=None: None)


def run(capsys, *words):
    """Exit status, output and errors of a command in this process."""
    code = 0
    try:
        console.main(list(map(str, words)))
    except SystemExit as error:
        code = error.code
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_help_lists_the_programs(capsys):
    for words in ([], ["--help"]):
        code, output, _ = run(capsys, *words)
        assert code == 0 and all(name in output for name in console.PROGRAMS)


def test_the_version(capsys):
    assert run(capsys, "--version")[1] == f"keras_imaml {ki.__version__}\n"


def test_an_unknown_program_is_refused(capsys):
    code, _, error = run(capsys, "trian")
    assert code == 2 and "did you mean train?" in error


@pytest.mark.parametrize("name", console.PROGRAMS)
def test_every_program_has_help(capsys, name):
    code, output, _ = run(capsys, name, "--help")
    assert code == 0 and len(output) > 100


def test_presets_have_names():
    booleans = {"transductive"}
    by_name = tokens.read(["--preset=paper/omniglot_5way_1shot"], booleans)
    path = "trainers/presets/paper/omniglot_5way_1shot.flags"
    by_file = tokens.read([f"--flagfile={ROOT / path}"], booleans)
    assert [str(token) for token in by_name] == [str(token) for token in by_file]
    assert by_name


def test_a_missing_preset_is_refused(capsys):
    code, _, error = run(capsys, "train", "--preset=glyph_5way_1shot", "--run_dir=a")
    assert code == 2 and "did you mean glyphs_5way_1shot?" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--run_dir or --learner is missing"),
        (["--learner=glyphs", "--data.way=3"], "--learner has its own settings"),
        (["--learner=glyphs", "--run_dir=runs/a"], "--learner has its own settings"),
        (["--learner=sinusoid"], "expected one of glyphs, mini_imagenet, omniglot"),
        (["--learner=glyphs", "--format=pdf"], "expected one of saved_model"),
        (["--learner=glyphs", "--support_dir=missing"], "is no folder"),
    ],
)
def test_wrong_flags_of_adapt_are_refused(capsys, tmp_path, flags, message):
    if not any(flag.startswith("--support_dir") for flag in flags):
        flags = [*flags, f"--support_dir={tmp_path}"]
    code, _, error = run(capsys, "adapt", f"--output={tmp_path / 'model'}", *flags)
    assert code == 2 and message in error and error.count("\n") == 1


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Class folders of glyphs, ink dark on white paper, and queries with their classes."""
    folder = tmp_path_factory.mktemp("drawings")
    tasks = ki.data.glyphs("test", way=3, shot=2, query=1, seed=2)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    names = np.array(["anchor", "boat", "cloud"])
    for number, (x, y) in enumerate(zip(support_x, names[support_y], strict=True)):
        (folder / "mine" / y).mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(folder / "mine" / y / f"{number}.png", 255 * (1 - x), scale=False)
    queries = {}
    for x, y in zip(query_x, names[query_y], strict=True):
        queries[str(folder / f"query_{y}.png")] = y
        keras.utils.save_img(folder / f"query_{y}.png", 255 * (1 - x), scale=False)
    return folder / "mine", queries


@pytest.mark.slow
def test_images_of_your_own_in_two_commands(capsys, tmp_path, drawings):
    support_dir, queries = drawings
    model = tmp_path / "model.keras"
    adapting = ["adapt", "--learner=glyphs", f"--support_dir={support_dir}", "--invert"]
    code, output, error = run(capsys, *adapting, f"--output={model}", "--format=keras")
    assert code == 0, error
    assert "Adapted to 6 images of 3 classes" in output and "predict" in output
    code, output, error = run(capsys, "predict", f"--model={model}", "--json", *queries)
    assert code == 0, error
    answers = json.loads(output)
    assert {answer["image"]: answer["label"] for answer in answers} == queries
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    code, output, _ = run(capsys, "predict", f"--model={model}", "--classes=1", *queries)
    header, *rows = output.splitlines()
    assert header.split() == ["image", "label", "probabilities"]
    for row, (file, label) in zip(rows, queries.items(), strict=True):
        assert row.split()[:3] == [file, label, label] and row.endswith("%")


@pytest.mark.slow
def test_every_format_predicts_the_same(capsys, tmp_path, drawings):
    support_dir, queries = drawings
    adapting = ["adapt", "--learner=glyphs", f"--support_dir={support_dir}", "--invert"]
    files = {"keras": "m.keras", "saved_model": "m", "litert": "m.tflite", "onnx": "m.onnx"}
    predicted = {}
    for kind, file in files.items():
        file = tmp_path / kind / file
        code, _, error = run(capsys, *adapting, f"--output={file}", f"--format={kind}")
        assert code == 0, error
        code, output, error = run(capsys, "predict", f"--model={file}", "--json", *queries)
        assert code == 0, error
        predicted[kind] = [list(a["probabilities"].values()) for a in json.loads(output)]
    for kind, probabilities in predicted.items():
        np.testing.assert_allclose(probabilities, predicted["keras"], atol=1e-3, err_msg=kind)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=missing", "a.png"], "no such file or folder"),
        (["--model={folder}", "a.png"], "labels.txt is missing"),
        (["--model={file}", "a.png"], "expected a SavedModel folder, or a file that ends in"),
        (["--model={file}", "--classes=0", "a.png"], "expected 1 or more"),
    ],
)
def test_wrong_models_are_refused(capsys, tmp_path, words, message):
    (tmp_path / "model.bin").write_text("?")
    (tmp_path / "model.labels.txt").write_text("a\nb\n")
    images = {"image_size": 8, "channels": 1, "invert": False}
    (tmp_path / "model.images.json").write_text(json.dumps(images))
    folder = tmp_path / "empty"
    folder.mkdir()
    words = [word.format(folder=folder, file=tmp_path / "model.bin") for word in words]
    code, _, error = run(capsys, "predict", *words)
    assert code == 2 and message in error and error.count("\n") == 1
