"""The command lines, as a user runs them."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from trainers import result as result_file

ROOT = pathlib.Path(__file__).absolute().parents[2]
PRESETS = sorted((ROOT / "trainers" / "presets").rglob("*.flags"))
SMALL = [
    "--dataset=sinusoid",
    "--tasks_per_step=4",
    "--inner_steps=2",
    "--inner_learning_rate=0.01",
    "--steps_per_epoch=3",
    "--validation_tasks=4",
    "--test_tasks=8",
]


def command(name, *flags):
    return [sys.executable, "-m", f"trainers.{name}", *map(str, flags)]


def call(name, *flags, **settings):
    return subprocess.run(
        command(name, *flags), cwd=ROOT, capture_output=True, text=True, check=False, **settings
    )


def interrupted(line, name, *flags):
    """Exit status and outputs of a process that gets Ctrl-C after it has printed a line."""
    process = subprocess.Popen(
        command(name, *flags),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs with interrupts ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for printed in process.stdout:
        if line in printed:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--way=1"], "way=1"),
        (["--dataset=imagenet"], "should be one of"),
        (["--steps=many"], "steps=many"),
        (["--bogus=1"], "bogus"),
        (["stray"], "unexpected arguments"),
        (["--dataset=folder"], "needs --data_dir"),
        (["--data_dir=/no/such/place"], "existing folder"),
        (["--proximal_strength=0"], "above 0"),
        (["--algorithm=maml", "--inner_solver=lbfgs"], "--algorithm=maml"),
        (["--linear_solver=dual", "--curvature=hessian"], "--linear_solver=dual"),
        (["--learn_inner_rate=layer"], "--learn_inner_rate"),
        (["--recompute"], "--recompute"),
        (["--learned_loss", "--algorithm=reptile"], "--learned_loss"),
        (["--dataset=unlabelled_sinusoid"], "needs --learned_loss"),
        (["--strongly_convex_momentum", "--algorithm=reptile"], "--strongly_convex_momentum"),
        (["--model=resnet12"], "--downsample=max or average"),
        (["--model=resnet12", "--downsample=max", "--dataset=sinusoid"], "needs images"),
        (["--run_dir="], "--run_dir is missing"),
        ([f"--run_dir={__file__}"], "is a file, expected a folder"),
        (["--cores=100000"], "--cores must not be above"),
        (["--mixed_precision"], "--mixed_precision is for --adapt=head"),
        (["--algorithm=supervised"], "supervised needs images and --classes"),
        (["--classes=20"], "--classes and --training_way are for it alone"),
        (["--features=no_run"], "--features must be the folder of a run"),
        (["--dataset=sinusoid", "--views"], "--distort, --views, --cosine, --centered"),
        (["--dataset=sinusoid", "--centered"], "--centered and --tied_head are for images"),
        (["--view_size=28"], "--view_size is for --views"),
        (["--views", "--view_size=7"], "--view_size must be 0, or 8 or more"),
        (["--views", "--learned_loss"], "--learned_loss reads the activations of one view"),
        (["--self_training=8", "--algorithm=reptile"], "--self_training guesses classes"),
        (["--self_training=8", "--dataset=sinusoid"], "--self_training guesses classes"),
        (["--adapt=head", "--algorithm=reptile"], "--algorithm=reptile moves weights"),
        (["--balanced_queries"], "--balanced_queries is for --self_training"),
        (["--self_training=8", "--guess_temperature=0"], "--guess_temperature must be above 0"),
        (["--dataset=cifar_fs", "--image_size=28"], "those of cifar_fs have 32 pixels"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(tmp_path, flags, reason):
    since = time.monotonic()
    result = call("train", f"--run_dir={tmp_path / 'run'}", *flags)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert reason in line
    assert time.monotonic() - since < 5  # no TensorFlow, no data, no network was loaded
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_flags(preset):
    code = (
        "from absl import flags; from trainers import command_line, train; "
        "command_line.define_shared(); train.define_flags(); "
        f"flags.FLAGS(['train', '--flagfile={preset}', '--run_dir=x', '--data_dir=.'])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_cores_are_known_where_a_process_has_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert result_file.available_cores() == os.cpu_count()


@pytest.mark.slow
def test_train_evaluate_and_resume(tmp_path):
    run = tmp_path / "run"
    first = call("train", f"--run_dir={run}", *SMALL, "--steps=4")
    assert first.returncode == 0, first.stderr
    assert "TensorBoard:" in first.stdout
    assert f"SavedModel: {run}/saved_model" in first.stdout
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 4
    assert result["tasks"] == 8
    assert result["split"] == "test"
    assert result["transductive"] is False
    assert result["loss"] > 0
    assert set(result["versions"]) == {"keras_imaml", "keras", "tensorflow", "python"}
    assert list((run / "logs").rglob("events*"))

    again = call("train", f"--run_dir={run}", *SMALL, "--steps=7")
    assert again.returncode == 0, again.stderr
    assert "Going on from step 4" in again.stdout
    whole = call("train", f"--run_dir={tmp_path / 'whole'}", *SMALL, "--steps=7")
    assert whole.returncode == 0, whole.stderr
    resumed, straight = (
        json.loads((folder / "result.json").read_text()) for folder in (run, tmp_path / "whole")
    )
    assert resumed["loss"] == straight["loss"]

    evaluated = call("evaluate", f"--run_dir={run}", "--tasks=8", "--inner_steps=2")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((run / "evaluation_test.json").read_text())["loss"] == resumed["loss"]
    fewer = call("evaluate", f"--run_dir={run}", "--tasks=4")
    assert fewer.returncode == 0, fewer.stderr
    assert "Left as it is" in fewer.stdout
    assert json.loads((run / "evaluation_test.json").read_text())["tasks"] == 8

    (run / "result.json").unlink()
    third = call("train", f"--run_dir={run}", *SMALL, "--steps=7")  # nothing is left to train
    assert third.returncode == 0, third.stderr
    assert json.loads((run / "result.json").read_text())["loss"] == resumed["loss"]

    other = call("train", f"--run_dir={run}", *SMALL, "--steps=7", "--shot=3")
    assert other.returncode == 2
    assert "other settings" in other.stderr
    assert "--shot=3" in other.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(tmp_path):
    flags = [f"--run_dir={tmp_path}", *SMALL, "--steps=100000", "--verbose=2"]
    code, rest, _ = interrupted("Epoch 3", "train", *flags, "--steps_per_epoch=50")
    assert code == 130
    assert "Interrupted at step" in rest
    step = int(rest.split("Interrupted at step ")[1].split(",")[0])
    assert step >= 100
    again = call(
        "train", *flags, "--steps_per_epoch=50", f"--steps={step + 10}", "--validation_tasks=0"
    )
    assert again.returncode == 0, again.stderr
    assert f"Going on from step {step}" in again.stdout


@pytest.mark.slow
def test_ctrl_c_in_an_evaluation_ends_it_without_a_traceback(tmp_path):
    made = call("train", f"--run_dir={tmp_path}", *SMALL, "--steps=2", "--validation_tasks=0")
    assert made.returncode == 0, made.stderr
    endless = ["--steps=2", "--test_tasks=100000000"]
    code, out, err = interrupted("Evaluating", "train", f"--run_dir={tmp_path}", *SMALL, *endless)
    assert code == 130
    assert "Interrupted" in out
    assert "Traceback" not in err


def class_folders(folder, names, images=4):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        ink = rng.uniform(size=(28, 28)) > 0.7
        for number in range(images):
            pixels = (ink ^ (rng.uniform(size=ink.shape) > 0.98)) * 255
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{number}.png")


@pytest.mark.slow
def test_adapt_to_class_folders(tmp_path):
    run, images = tmp_path / "run", tmp_path / "images"
    flags = ["--way=3", "--filters=8", "--query=2", "--tasks_per_step=2", "--steps=2"]
    trained = call(
        "train", f"--run_dir={run}", *flags, "--test_tasks=4", "--validation_tasks=0",
        "--inner_learning_rate=0.3", "--proximal_strength=0.1",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    class_folders(images, ["ash", "beech", "cedar"])
    output = tmp_path / "adapted"
    adapted = call("adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={output}")
    assert adapted.returncode == 0, adapted.stderr
    assert (output / "labels.txt").read_text().split() == ["ash", "beech", "cedar"]
    code = (
        "import sys, numpy as np, tensorflow as tf;"
        f"served = tf.saved_model.load({str(output)!r});"
        "print(served.serve(tf.zeros([2, 28, 28, 1])).shape)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "(2, 3)" in loaded.stdout
    taken = call("adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={__file__}")
    assert taken.returncode == 2
    assert "is a file, expected a folder" in taken.stderr
    other = call("evaluate", f"--run_dir={run}", "--way=4", "--tasks=2")
    assert other.returncode == 2
    assert "the head of this run has 3 classes" in other.stderr
    shutil.rmtree(images / "ash")
    wrong = call("adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={output}")
    assert wrong.returncode == 2
    assert "expected 3 folders" in wrong.stderr
    wrong = call(
        "adapt", f"--run_dir={run}", f"--support_dir={images}", "--output=a", "--format=onnx"
    )
    assert wrong.returncode == 2
    assert "expected a name that ends in .onnx" in wrong.stderr


@pytest.mark.slow
def test_a_residual_network_is_trained_by_a_flag(tmp_path):
    small = ["--filters=2", "--way=2", "--tasks_per_step=2", "--steps=2", "--test_tasks=4"]
    flags = ["--model=resnet12", "--downsample=max", "--adapt=head", "--validation_tasks=0"]
    made = call("train", f"--run_dir={tmp_path / 'run'}", *flags, *small)
    assert made.returncode == 0, made.stderr
    assert "--model=resnet12" in (tmp_path / "run" / "flags.txt").read_text()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["tasks"] == 4


@pytest.mark.slow
def test_a_run_begins_with_the_features_of_a_classifier(tmp_path):
    small = ["--filters=4", "--way=3", "--tasks_per_step=1", "--steps=2", "--test_tasks=2"]
    shared = [*small, "--adapt=head", "--transductive", "--validation_tasks=0"]
    supervised = ["--algorithm=supervised", "--training_way=16", "--query=2"]
    refused = call("train", f"--run_dir={tmp_path / 'other'}", *shared, *supervised, "--classes=60")
    assert refused.returncode == 2
    (classes,) = re.findall(r"--classes=60: expected (\d+)", refused.stderr)
    features, run = tmp_path / "features", tmp_path / "run"
    made = call("train", f"--run_dir={features}", *shared, *supervised, f"--classes={classes}")
    assert made.returncode == 0, made.stderr
    evaluated = call("evaluate", f"--run_dir={features}", "--way=2", "--tasks=2")
    assert evaluated.returncode == 0, evaluated.stderr
    rate = "--outer_learning_rate=1e-12"  # so that the weights stay those it began with
    made = call("train", f"--run_dir={run}", *shared, "--tied_head", f"--features={features}", rate)
    assert made.returncode == 0, made.stderr
    theirs, ours = (
        keras.models.load_model(folder / "learner.keras").model for folder in (features, run)
    )
    assert isinstance(ours.layers[-1], ki.layers.TiedDense)
    wrong = ["--tied_head", "--filters=3", f"--features={features}"]
    refused = call("train", f"--run_dir={tmp_path / 'wrong'}", *shared, *wrong)
    assert refused.returncode == 2
    assert "Expected a layer 'conv_1' with weights of the shapes" in refused.stderr
    for name in ("conv_1", "norm_4"):
        for one, other in zip(
            theirs.get_layer(name).weights, ours.get_layer(name).weights, strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_a_run_normalizes_by_training_images(tmp_path):
    """Those recorded when it begins; any run can be evaluated so."""
    small = ["--filters=4", "--tasks_per_step=1", "--steps=2", "--test_tasks=2", "--cosine"]
    shared = [*small, "--way=3", "--adapt=head", "--transductive", "--validation_tasks=0"]
    first, second = (f"--run_dir={tmp_path / name}" for name in ("first", "second"))
    refused = call("train", first, *shared, "--statistics=training")
    assert refused.returncode == 2
    assert "--statistics=training needs --features to train" in refused.stderr
    assert not (tmp_path / "first").exists()
    assert call("train", first, *shared).returncode == 0
    for views in ([], ["--views", "--image_size=36", "--view_size=28"]):
        evaluated = call("evaluate", first, "--statistics=training", "--tasks=4", *views)
        assert evaluated.returncode == 0, evaluated.stderr
        assert "4 tasks, non-transductive" in evaluated.stdout
    made = call(
        "train", second, *shared, "--statistics=training", f"--features={tmp_path / 'first'}"
    )
    assert made.returncode == 0, made.stderr
    ours = keras.models.load_model(tmp_path / "second" / "learner.keras").model
    held = ours.get_layer("norm_1").moving_variance.numpy()
    assert ours.get_layer("norm_1").fixed and not np.allclose(held, 1)
    as_it_is = ["--steps=0", "--statistics=training", f"--features={tmp_path / 'first'}"]
    made = call("train", f"--run_dir={tmp_path / 'third'}", *shared, *as_it_is)
    assert made.returncode == 0, made.stderr
    assert "after 0 steps" in made.stdout
    again = call("train", f"--run_dir={tmp_path / 'third'}", *shared, *as_it_is)
    assert again.returncode == 0, again.stderr
    evaluated = call("evaluate", f"--run_dir={tmp_path / 'third'}", "--tasks=4")
    assert evaluated.returncode == 0, evaluated.stderr
    refused = call("train", f"--run_dir={tmp_path / 'fourth'}", *shared, "--steps=0")
    assert refused.returncode == 2 and "--steps=0 needs --features" in refused.stderr
    evaluated = call("evaluate", second, "--tasks=4")  # by those of the run, not recorded anew
    assert evaluated.returncode == 0, evaluated.stderr
    assert "4 tasks, non-transductive" in evaluated.stdout
    fifth = f"--run_dir={tmp_path / 'fifth'}"
    made = call("train", fifth, *shared, *as_it_is, "--centered")
    assert made.returncode == 0, made.stderr
    for mode in ("transductive", "non-transductive"):
        flag = "--notransductive" if mode == "non-transductive" else "--transductive"
        evaluated = call("evaluate", fifth, "--tasks=4", flag)
        assert f"(4 tasks, {mode}" in evaluated.stdout, evaluated.stderr
    refused = call("evaluate", second, "--centered", "--tasks=4")
    assert refused.returncode == 2 and "does not fit" in refused.stderr
    refused = call("evaluate", second, "--statistics=task", "--tasks=4")
    assert refused.returncode == 2
    assert "the run was trained with --statistics=training" in refused.stderr


@pytest.mark.slow
def test_a_run_with_a_tied_head_is_evaluated_adapted_and_exported_for_other_ways(tmp_path):
    run = tmp_path / "run"
    flags = ["--tied_head", "--adapt=head", "--inner_solver=newton_cg", "--linear_solver=dual"]
    small = ["--filters=4", "--way=6", "--tasks_per_step=2", "--steps=2", "--test_tasks=4"]
    made = call("train", f"--run_dir={run}", "--validation_tasks=0", *flags, *small)
    assert made.returncode == 0, made.stderr
    evaluated = call("evaluate", f"--run_dir={run}", "--way=3", "--shot=2", "--tasks=4")
    assert evaluated.returncode == 0, evaluated.stderr
    record = json.loads((run / "evaluation_test_way=3_shot=2.json").read_text())
    assert (record["settings"]["way"], record["tasks"]) == (3, 4)
    guesses = ["--self_training=2", "--balanced_queries", "--proximal_strength=1"]
    guessed = call("evaluate", f"--run_dir={run}", "--way=3", "--tasks=4", *guesses)
    assert guessed.returncode == 0, guessed.stderr
    name = "way=3_proximal_strength=1.0_self_training=2_balanced_queries=True"
    record = json.loads((run / f"evaluation_test_{name}.json").read_text())
    assert record["transductive"]  # for the queries see one another
    exported = call(
        "export",
        f"--run_dir={run}",
        "--way=3",
        f"--output={tmp_path / 'served'}",
        f"--request={tmp_path / 'request.json'}",
    )
    assert exported.returncode == 0, exported.stderr
    request = json.loads((tmp_path / "request.json").read_text())
    assert np.shape(request["inputs"]["support_x"]) == (3, 28, 28, 1)
    served = tf.saved_model.load(str(tmp_path / "served"))
    images = np.zeros([3, 28, 28, 1], "float32")
    result = served.adapt_and_predict(images, np.arange(3, dtype="int32"), images)
    assert result["logits"].shape == (3, 3)
    class_folders(tmp_path / "mine", ["a", "b"])
    adapting = [
        *("adapt", f"--run_dir={run}", f"--support_dir={tmp_path / 'mine'}"),
        *(f"--output={tmp_path / 'models' / 'ab.tflite'}", "--format=litert"),
    ]
    unlabelled = call(*adapting, "--self_training=2")
    assert unlabelled.returncode == 2
    assert "needs unlabelled images" in unlabelled.stderr
    adapted = call(*adapting)
    assert adapted.returncode == 0, adapted.stderr
    assert (tmp_path / "models" / "ab.tflite").stat().st_size > 1000
    assert (tmp_path / "models" / "ab.labels.txt").read_text().split() == ["a", "b"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    result = call("evaluate", f"--run_dir={tmp_path}")
    assert result.returncode == 2
    assert "holds no flags.txt" in result.stderr
    assert not os.listdir(tmp_path)
