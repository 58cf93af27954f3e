"""The command lines, as a user runs them."""

import importlib
import json
import os
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
from absl import flags

import keras_imaml as ki
from tests.programs import Program
from tests.trainers.commands import ROOT, call, call_here, command, train_here
from trainers import (
    adapt,
    command_line,
    components,
    evaluate,
    experiment,
    export,
    help_text,
    parsing,
    settings,
    train,
)

pytestmark = pytest.mark.usefixtures("trainers_of_two_blocks")

PRESETS = sorted((ROOT / "trainers" / "presets").rglob("*.flags"))
SMALL = [
    "--data=sinusoid",
    "--tasks_per_step=4",
    "--inner.steps=2",
    "--inner.learning_rate=0.01",
    "--steps_per_epoch=3",
    "--validation_tasks=4",
    "--test_tasks=8",
    "--noprobe",
]


def interrupted(line, name, *flags):
    """Exit status and outputs of a process that gets Ctrl-C after it has printed a line."""
    process = Program(command(name, *flags), cwd=ROOT, shortcuts=True)
    before = []
    for printed in process.stdout:
        before.append(printed)
        if line in printed:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return process.returncode, "".join(before) + output, errors


@pytest.fixture
def threads_stay(monkeypatch):
    """The threads of this process have been started, and stay as they are."""
    monkeypatch.setattr(ki, "parallel_tasks", lambda cores: None)


def in_process(capsys, program, *flags):
    """Exit status and standard error of a program that is refused before it runs."""
    with pytest.raises(SystemExit) as error:
        command_line.run(program, list(map(str, flags)))
    return error.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        # names, values and types
        (["--bogus=1"], "Unknown command line flag 'bogus'"),
        (["--inner.stepz=1"], "did you mean --inner.steps?"),
        (["stray"], "unexpected arguments"),
        (["--steps=many"], "flag --steps=many: expected a whole number"),
        (["--inner.learning_rate=much"], "Expected a number above 0, 'auto'"),
        (["--model.tied_head=perhaps"], "tied_head"),
        (["--run_dir="], "--run_dir is missing"),
        (["--flagfile=none.flags"], "no such file"),
        # choices
        (["--data=imagenet"], "did you mean mini_imagenet?"),
        (["--inner=newton"], "did you mean newton_cg?"),
        (["--inner=nowhere.Solver"], "No module named 'nowhere'"),
        (["--inner=math.Solver"], "no attribute 'Solver'"),
        (["--inner=math.pi"], "expected a class or a function"),
        (["--data=.."], "--data=..: expected one of glyphs"),
        (["--data=../.."], "--data=../..: expected one of glyphs"),
        # flags of what is not chosen
        (["--inner.beta_1=0.5"], "is for --inner=adam, and --inner=gradient_descent is chosen"),
        (["--algorithm.recompute"], "is for --algorithm=maml"),
        (["--algorithm=maml", "--linear=dual"], "--algorithm=maml solves no linear system"),
        (["--wrapper.balanced"], "is for --wrapper=self_training"),
        (["--data=sinusoid", "--model.centered"], "is for --model=conv4 or resnet12"),
        (["--data=cifar_fs", "--data.image_size=28"], "--data=cifar_fs is chosen"),
        # what constructors refuse
        (["--algorithm.proximal_strength=0"], "Expected a finite number above 0"),
        (["--inner.nesterov"], "Expected a number above 0 with nesterov=True"),
        (["--model.filters=0"], "Invalid value for `filters`"),
        (["--data=sinusoid", "--model=resnet12"], "--model=resnet12: Invalid value"),
        (["--outer.schedule=linear"], "Invalid value for `schedule`"),
        (["--outer.learning_rate=nan"], "Invalid value for `learning_rate`"),
        (["--outer.clip_norm=-1"], "Invalid value for `clip_norm`"),
        (["--outer.weight_decay=-1"], "Invalid value for `weight_decay`"),
        (["--outer=keras.optimizers.SGD", "--outer.momentum=2"], "--outer=keras.optimizers.SGD: "),
        (["--algorithm=maml", "--inner=lbfgs"], "--algorithm=maml: Invalid value for `inner`"),
        (["--inner.learning_rate.per=layer"], "Expected a `LearningRate` with learned=False"),
        (["--inner.learning_rate.per=column"], "Invalid value for `per`"),
        (["--algorithm=reptile", "--learned_loss"], "Invalid value for `learned_loss`"),
        (["--algorithm=reptile", "--adapt=head"], "Invalid value for `adapt`"),
        (
            [
                "--algorithm=reptile",
                "--inner.momentum=strongly_convex",
                "--inner.learning_rate=0.1",
            ],
            "the inner objective has none",
        ),
        (["--algorithm=reptile", "--wrapper=self_training"], "--wrapper=self_training: Invalid"),
        (["--data=sinusoid", "--wrapper=self_training"], "Invalid value for `loss`"),
        (["--wrapper=self_training", "--wrapper.temperature=0"], "temperature"),
        (["--distribution=everywhere"], "Invalid value for `distribution`"),
        # files, machines, and what does not go together
        (["--data=folder"], "needs --data_dir"),
        (["--data_dir=/no/such/place"], "existing folder"),
        ([f"--run_dir={__file__}"], "is a file, expected a folder"),
        (["--cores=100000"], "--cores must not be above"),
        (["--features=no_run"], "--features must be the folder of a run"),
        (["--steps=0"], "--steps=0 needs --features"),
        (["--test_tasks=0"], "--test_tasks=0: expected 1 or more"),
        (["--data.way=1"], "--data.way=1: expected 2 or more"),
        (["--view_size=28"], "--view_size is for --views"),
        (["--views", "--view_size=7"], "--view_size=7: expected 8 or more"),
        (["--views", "--learned_loss"], "--learned_loss reads the activations of one view"),
        (["--data=sinusoid", "--views"], "--distort and --views are for images"),
        (["--data=unlabelled_sinusoid"], "needs --learned_loss"),
        (["--linear=dual", "--algorithm.curvature=hessian"], "--linear=dual needs"),
        (["--linear=dual", "--algorithm=released_imaml"], "--linear=dual needs"),
        (["--first_inner_steps=17"], "expected at most --inner.steps=16"),
        (["--first_inner_steps=-1"], "--first_inner_steps=-1: expected 0 or more"),
        (["--growth_steps=0"], "--growth_steps=0: expected 1 or more"),
        (["--first_inner_steps=2", "--algorithm=supervised"], "is for algorithms that adapt"),
        (["--model.dtype=mixed_float16"], "is for --adapt=head"),
        (["--algorithm=supervised"], "supervised needs --model.classes"),
        (["--model.classes=20"], "are for --algorithm=supervised"),
    ],
)
@pytest.mark.usefixtures("threads_stay")
def test_wrong_flags_are_refused_in_one_line(tmp_path, capsys, flags, reason):
    begin = time.process_time()
    code, err = in_process(capsys, train.PROGRAM, f"--run_dir={tmp_path / 'run'}", *flags)
    assert time.process_time() - begin < 2  # no data is loaded, whoever refuses
    assert code == 2
    (line,) = err.strip().splitlines()
    assert reason in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_nothing_else_is_printed(tmp_path):
    words = command("train", f"--run_dir={tmp_path / 'run'}", "--inner.beta_1=0.5")
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("train.py: --inner.beta_1=0.5 is for --inner=adam")


def test_importing_a_trainer_defines_nothing():
    before = set(flags.FLAGS)
    for program in (adapt, evaluate, export, train):
        importlib.reload(program)
    assert set(flags.FLAGS) == before


@pytest.mark.parametrize("program", [adapt, evaluate, export, train], ids=lambda p: p.__name__)
def test_help_shows_every_flag(program, capsys):
    for chosen in (["--data=sinusoid"], ["--inner=newton_cg", "--wrapper=self_training"]):
        shown = help_text.text(program.PROGRAM, ["--help", *chosen])
        assert len(shown.splitlines()) <= 82
        assert max(map(len, shown.splitlines())) <= 100
        arguments = parsing.own_arguments(program.PROGRAM)
        for name in ("run_dir", "data", "data_dir", "inner.steps", "distribution", *arguments):
            assert f"--{name}" in shown
    command_line.run(program.PROGRAM, ["--help", *chosen])
    assert capsys.readouterr().out == shown + "\n"
    full = help_text.text(program.PROGRAM, ["--helpfull"])
    for part, choice in components.CHOICES.items():
        for option in choice.options:
            assert f"--{part}={option}" in full
            for name, argument in choice.arguments(option).items():
                assert f"--{part}.{name}" in full
                assert argument.help, f"{part}={option}: {name}"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_flags(preset):
    command = parsing.parse(train.PROGRAM, ["--run_dir=x", "--data_dir=.", f"--flagfile={preset}"])
    assert not command.notes  # of old names


@pytest.mark.slow
def test_training_by_hand(tmp_path):
    """The settings are plain objects, and no flag is read."""
    chosen = settings.Settings(
        data="sinusoid",
        inner=components.component("gradient_descent", steps=1, learning_rate=0.01),
        model=components.component("mlp", hidden=(2,)),
        tasks_per_step=2,
    )
    counts = {"steps": 1, "validation_tasks": 0, "test_tasks": 2, "probe": False, "verbose": 0}
    evaluation = train.train_and_evaluate(chosen, str(tmp_path), **counts)
    assert evaluation.tasks == 2
    assert parsing.settings_of_file(str(tmp_path / "flags.txt")) == chosen
    repeated_evaluation = evaluate.evaluate(chosen, str(tmp_path), tasks=2, verbose=0)
    assert repeated_evaluation.loss == evaluation.loss


@pytest.mark.slow
def test_train_evaluate_and_resume(tmp_path):
    run = tmp_path / "run"
    first = call("train", f"--run_dir={run}", *SMALL, "--steps=4", "--probe")
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

    second = call_here("train", f"--run_dir={run}", *SMALL, "--steps=7")
    assert second.returncode == 0, second.stderr
    assert "Resuming from step 4" in second.stdout
    resumed_result = json.loads((run / "result.json").read_text())

    evaluation = call_here("evaluate", f"--run_dir={run}", "--tasks=8", "--inner.steps=2")
    assert evaluation.returncode == 0, evaluation.stderr
    assert json.loads((run / "evaluation_test.json").read_text())["loss"] == resumed_result["loss"]
    fewer = call_here("evaluate", f"--run_dir={run}", "--tasks=4")
    assert fewer.returncode == 0, fewer.stderr
    assert "Left as it is" in fewer.stdout
    assert json.loads((run / "evaluation_test.json").read_text())["tasks"] == 8

    (run / "result.json").unlink()
    third = call_here("train", f"--run_dir={run}", *SMALL, "--steps=7")  # nothing is left to train
    assert third.returncode == 0, third.stderr
    assert json.loads((run / "result.json").read_text())["loss"] == resumed_result["loss"]

    refused = call_here("train", f"--run_dir={run}", *SMALL, "--steps=7", "--data.shot=3")
    assert refused.returncode == 2
    assert "other settings" in refused.stderr
    assert "--data.shot=3" in refused.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_resumes(tmp_path):
    """Both while it trains and while it evaluates, it ends without a traceback."""
    flags = [f"--run_dir={tmp_path}", *SMALL, "--validation_tasks=0", "--verbose=2"]
    flags.append("--steps_per_epoch=50")
    code, output, errors = interrupted("Epoch 3", "train", *flags, "--steps=100000")
    assert code == 130
    assert "Interrupted at step" in output
    assert "Traceback" not in errors
    step = int(output.split("Interrupted at step ")[1].split(",")[0])
    assert step >= 100
    endless = [f"--steps={step + 10}", "--test_tasks=100000000"]
    code, output, errors = interrupted("Evaluating", "train", *flags, *endless)
    assert f"Resuming from step {step}" in output
    assert code == 130
    assert "Interrupted" in output.split("Evaluating")[1]
    assert "Traceback" not in errors


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
    flags = [
        "--data.way=3",
        "--model.filters=8",
        "--data.query=2",
        "--tasks_per_step=2",
        "--steps=2",
        "--noprobe",
    ]
    trained = call_here(
        "train", f"--run_dir={run}", *flags, "--test_tasks=4", "--validation_tasks=0",
        "--inner.learning_rate=0.3", "--algorithm.proximal_strength=0.1",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    class_folders(images, ["ash", "beech", "cedar"])
    output = tmp_path / "adapted"
    adapted = call_here(
        "adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={output}"
    )
    assert adapted.returncode == 0, adapted.stderr
    assert (output / "labels.txt").read_text().split() == ["ash", "beech", "cedar"]
    served_model = tf.saved_model.load(str(output))
    assert served_model.serve(tf.zeros([2, 28, 28, 1])).shape == (2, 3)
    refused_output = call_here(
        "adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={__file__}"
    )
    assert refused_output.returncode == 2
    assert "is a file, expected a folder" in refused_output.stderr
    evaluation = call_here("evaluate", f"--run_dir={run}", "--data.way=4", "--tasks=2")
    assert evaluation.returncode == 2
    assert "the head of this run has 3 classes" in evaluation.stderr
    shutil.rmtree(images / "ash")
    refused_adaptation = call_here(
        "adapt", f"--run_dir={run}", f"--support_dir={images}", f"--output={output}"
    )
    assert refused_adaptation.returncode == 2
    assert "expected 3 folders" in refused_adaptation.stderr
    refused_adaptation = call_here(
        "adapt", f"--run_dir={run}", f"--support_dir={images}", "--output=a", "--format=onnx"
    )
    assert refused_adaptation.returncode == 2
    assert "expected a name that ends in .onnx" in refused_adaptation.stderr


@pytest.mark.slow
def test_a_residual_network_is_made_by_flags():
    flags = ["--model=resnet12", "--model.downsample=max", "--model.filters=2", "--adapt=head"]
    command = parsing.parse(train.PROGRAM, ["--run_dir=x", "--data.way=2", *flags])
    learner = experiment.learner(command.settings, steps=2)
    assert "adapt=['head']" in repr(learner)
    kinds = [type(layer) for layer in learner.model.layers]
    assert keras.layers.Add in kinds and keras.layers.MaxPooling2D in kinds
    assert learner.model.output_shape == (None, 2)


@pytest.mark.slow
def test_a_run_begins_with_the_features_of_a_classifier(tmp_path):
    small = [
        "--noprobe",
        "--model.filters=4",
        "--data.way=3",
        "--tasks_per_step=1",
        "--steps=2",
        "--test_tasks=2",
    ]
    shared = [*small, "--adapt=head", "--transductive", "--validation_tasks=0"]
    supervised = ["--algorithm=supervised", "--training_way=16", "--data.query=2"]
    refused = train_here(
        f"--run_dir={tmp_path / 'other'}", *shared, *supervised, "--model.classes=60"
    )
    assert refused.returncode == 2
    (classes,) = re.findall(r"--model.classes=60: expected (\d+)", refused.stderr)
    features, run = tmp_path / "features", tmp_path / "run"
    training = train_here(
        f"--run_dir={features}", *shared, *supervised, f"--model.classes={classes}"
    )
    assert training.returncode == 0, training.stderr
    evaluation = call_here("evaluate", f"--run_dir={features}", "--data.way=2", "--tasks=2")
    assert evaluation.returncode == 0, evaluation.stderr
    rate = "--outer.learning_rate=1e-12"  # so that the weights stay those it began with
    training = train_here(
        f"--run_dir={run}", *shared, "--model.tied_head", f"--features={features}", rate
    )
    assert training.returncode == 0, training.stderr
    source_model, run_model = (
        keras.models.load_model(folder / "learner.keras").model for folder in (features, run)
    )
    assert isinstance(run_model.layers[-1], ki.layers.TiedDense)
    flags = ["--model.tied_head", "--model.filters=3", f"--features={features}"]
    refused = train_here(f"--run_dir={tmp_path / 'wrong'}", *shared, *flags)
    assert refused.returncode == 2
    assert "Expected a layer 'conv_1' with weights of the shapes" in refused.stderr
    for name in ("conv_1", "norm_2"):
        for expected, weight in zip(
            source_model.get_layer(name).weights, run_model.get_layer(name).weights, strict=True
        ):
            np.testing.assert_allclose(expected, weight, atol=1e-6)


@pytest.mark.slow
def test_a_run_normalises_by_training_images(tmp_path):
    """Those recorded when it begins; any run can be evaluated so."""
    small = [
        "--noprobe",
        "--data.classes=20",
        "--data.query=3",
        "--model.filters=2",
        "--tasks_per_step=1",
        "--steps=2",
        "--inner.steps=2",
        "--test_tasks=2",
        "--model.cosine",
    ]
    shared = [*small, "--data.way=3", "--adapt=head", "--transductive", "--validation_tasks=0"]
    first, second = (f"--run_dir={tmp_path / name}" for name in ("first", "second"))
    refused = train_here(first, *shared, "--model.fixed_statistics")
    assert refused.returncode == 2
    assert "--model.fixed_statistics needs --features to train" in refused.stderr
    assert not (tmp_path / "first").exists()
    assert train_here(first, *shared).returncode == 0
    views = ["--views", "--data.image_size=36", "--view_size=28"]
    evaluation = call_here("evaluate", first, "--model.fixed_statistics", "--tasks=4", *views)
    assert evaluation.returncode == 0, evaluation.stderr
    assert "4 tasks, non-transductive" in evaluation.stdout
    training = train_here(
        second, *shared, "--model.fixed_statistics", f"--features={tmp_path / 'first'}"
    )
    assert training.returncode == 0, training.stderr
    model = keras.models.load_model(tmp_path / "second" / "learner.keras").model
    variance = model.get_layer("norm_1").moving_variance.numpy()
    assert model.get_layer("norm_1").fixed and not np.allclose(variance, 1)
    refused = train_here(f"--run_dir={tmp_path / 'fourth'}", *shared, "--steps=0")
    assert refused.returncode == 2 and "--steps=0 needs --features" in refused.stderr
    # By those of the run, not recorded anew.
    evaluation = call_here("evaluate", second, "--tasks=4")
    assert evaluation.returncode == 0, evaluation.stderr
    assert "4 tasks, non-transductive" in evaluation.stdout
    flags = ["--steps=0", "--model.fixed_statistics", f"--features={tmp_path / 'first'}"]
    third = f"--run_dir={tmp_path / 'third'}"
    for _ in range(2):  # nothing is left to train
        training = train_here(third, *shared, *flags, "--model.centered")
        assert training.returncode == 0, training.stderr
    assert "after 0 steps" in training.stdout
    for mode in ("transductive", "non-transductive"):
        flag = "--notransductive" if mode == "non-transductive" else "--transductive"
        evaluation = call_here("evaluate", third, "--tasks=4", flag)
        assert f"(4 tasks, {mode}" in evaluation.stdout, evaluation.stderr
    refused = call_here("evaluate", second, "--model.centered", "--tasks=4")
    assert refused.returncode == 2 and "does not fit" in refused.stderr
    refused = call_here("evaluate", second, "--nomodel.fixed_statistics", "--tasks=4")
    assert refused.returncode == 2
    assert "the run was trained with --model.fixed_statistics" in refused.stderr


@pytest.mark.slow
def test_a_run_with_a_tied_head_is_evaluated_adapted_and_exported_for_other_ways(tmp_path):
    run = tmp_path / "run"
    flags = ["--model.tied_head", "--adapt=head", "--inner=newton_cg", "--linear=dual"]
    small = [
        "--noprobe",
        "--model.filters=4",
        "--data.way=6",
        "--tasks_per_step=2",
        "--steps=2",
        "--test_tasks=4",
    ]
    training = train_here(f"--run_dir={run}", "--validation_tasks=0", *flags, *small)
    assert training.returncode == 0, training.stderr
    guesses = [
        "--wrapper=self_training",
        "--wrapper.rounds=2",
        "--wrapper.balanced",
        "--algorithm.proximal_strength=1",
    ]
    evaluation = call_here("evaluate", f"--run_dir={run}", "--data.way=3", "--tasks=4", *guesses)
    assert evaluation.returncode == 0, evaluation.stderr
    name = "way=3_algorithm.proximal_strength=1.0_wrapper=self_training_wrapper.rounds=2"
    record = json.loads((run / f"evaluation_test_{name}_wrapper.balanced=True.json").read_text())
    assert (record["settings"]["data.way"], record["tasks"]) == (3, 4)
    assert record["transductive"]  # for the queries see one another
    exported = call_here(
        "export",
        f"--run_dir={run}",
        "--data.way=3",
        f"--output={tmp_path / 'served'}",
        f"--request={tmp_path / 'request.json'}",
    )
    assert exported.returncode == 0, exported.stderr
    request = json.loads((tmp_path / "request.json").read_text())
    assert np.shape(request["inputs"]["support_x"]) == (3, 28, 28, 1)
    served_model = tf.saved_model.load(str(tmp_path / "served"))
    images = np.zeros([3, 28, 28, 1], "float32")
    result = served_model.adapt_and_predict(images, np.arange(3, dtype="int32"), images)
    assert result["logits"].shape == (3, 3)
    class_folders(tmp_path / "mine", ["a", "b"])
    adapting = [
        *("adapt", f"--run_dir={run}", f"--support_dir={tmp_path / 'mine'}"),
        *(f"--output={tmp_path / 'models' / 'ab.tflite'}", "--format=litert"),
    ]
    unlabelled = call_here(*adapting, "--wrapper=self_training")
    assert unlabelled.returncode == 2
    assert "needs unlabeled images" in unlabelled.stderr
    adapted = call_here(*adapting)
    assert adapted.returncode == 0, adapted.stderr
    assert (tmp_path / "models" / "ab.tflite").stat().st_size > 1000
    assert (tmp_path / "models" / "ab.labels.txt").read_text().split() == ["a", "b"]


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    code, err = in_process(capsys, evaluate.PROGRAM, f"--run_dir={tmp_path}")
    assert code == 2
    assert "holds no flags.txt" in err
    assert not os.listdir(tmp_path)
