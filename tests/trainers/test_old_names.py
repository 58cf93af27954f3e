"""Flags by their old names mean what they meant."""

import json
import pathlib

import pytest

from trainers import old_names, parsing, train

ROOT = pathlib.Path(__file__).absolute().parents[2]
OLD = sorted(
    file
    for file in (ROOT / "benchmarks" / "results").rglob("flags.txt")
    if '"inner_steps"' in (file.parent / "result.json").read_text()
)
HEAD = """
--dataset=mini_imagenet
--way=16
--shot=1
--query=5
--image_size=84
--views
--view_size=64
--distort
--tasks_per_step=1
--steps=0
--steps_per_epoch=500
--filters=64
--mixed_precision
--tied_head
--downsample=max
--cosine
--statistics=training
--adapt=head
--inner_solver=newton_cg
--inner_steps=5
--linear_solver=dual
--proximal_strength=0.02
--outer_learning_rate=0.0001
--outer_schedule=cosine
--outer_clip_norm=1
"""
SINES = """
--dataset=sinusoid
--shot=10
--query=10
--tasks_per_step=25
--steps=10000
--steps_per_epoch=1000
--inner_solver=newton_cg
--inner_steps=4
--inner_learning_rate=0.02
--proximal_strength=0.5
--outer_learning_rate=0.003
--outer_clip_norm=10
--outer_schedule=cosine
"""
RELEASED = """
--dataset=omniglot
--way=5
--shot=1
--query=1
--tasks_per_step=32
--steps=20000
--algorithm=released_imaml
--inner_steps=16
--inner_learning_rate=0.1
--proximal_strength=2.0
--linear_steps=5
--outer_learning_rate=0.001
--outer_epsilon=0.001
--transductive
"""


def parsed(*flags):
    return parsing.parse(train.PROGRAM, ["--run_dir=x", *flags])


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        (HEAD, "mini_imagenet_cosine_head"),
        (SINES, "sinusoid"),
        (RELEASED, "released/omniglot_5way_1shot"),
    ],
    ids=["head", "sinusoid", "released"],
)
def test_old_presets_equal_the_current_ones(tmp_path, text, preset):
    file = tmp_path / "old.flags"
    file.write_text(text)
    old, new = parsed(f"--flagfile={file}"), ROOT / "trainers" / "presets" / f"{preset}.flags"
    assert old.settings == parsing.settings_of_file(str(new))
    assert old.arguments == parsed(f"--flagfile={new}").arguments
    (note,) = old.notes
    assert note.startswith("Read flags by their old names: --dataset (now --data)")


@pytest.mark.parametrize("file", OLD[::6], ids=lambda path: "/".join(path.parts[-4:-1]))
def test_runs_of_old_times_are_read(file):
    settings = parsing.settings_of_file(str(file))
    recorded = json.loads((file.parent / "result.json").read_text())["settings"]
    old = {"inner.steps": "inner_steps", "seed": "seed", "data": "dataset", "data.shot": "shot"}
    for new, name in old.items():
        assert settings[new] == recorded[name]
    assert parsing.settings_of_values(settings.values()) == settings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], []),
        (["--inner_solver=adam"], ["--inner=adam", "--inner.learning_rate=0.1"]),
        (["--inner_solver=newton_cg"], ["--inner=newton_cg", "--inner.steps=16"]),
        (
            ["--inner_solver=lbfgs", "--inner_learning_rate=0.3"],
            ["--inner=lbfgs", "--inner.steps=16", "--inner.first_step=0.3"],
        ),
        (
            ["--inner_solver=nesterov"],
            ["--inner.nesterov", "--inner.momentum=0.9", "--inner.learning_rate=0.1"],
        ),
        (
            ["--inner_momentum=0.5", "--inner_solver=nesterov"],
            ["--inner.nesterov", "--inner.momentum=0.5", "--inner.learning_rate=0.1"],
        ),
        (
            ["--strongly_convex_momentum", "--inner_solver=nesterov", "--inner_momentum=0.5"],
            [
                *("--inner.nesterov", "--inner.momentum=strongly_convex"),
                "--inner.learning_rate=0.1",
            ],
        ),
        (["--inner_momentum=0.5"], ["--inner.learning_rate=0.1"]),
        (
            ["--inner_solver=nesterov", "--inner_solver=gradient_descent"],
            ["--inner.learning_rate=0.1"],
        ),
        (["--linear_solver=nystrom"], ["--linear=nystrom", "--linear.rank=5"]),
        (["--linear_solver=dual", "--linear_steps=7"], ["--linear=dual"]),
        (
            ["--curvature=hessian", "--inner_solver=newton_cg", "--inner_steps=4"],
            ["--algorithm.curvature=hessian", "--inner=newton_cg", "--inner.curvature=hessian"],
        ),
        (
            ["--algorithm=fomaml", "--proximal_strength=3"],
            ["--algorithm=maml", "--algorithm.first_order"],
        ),
        (["--algorithm=fomaml", "--algorithm=imaml"], []),
        (
            ["--learn_inner_rate=weight", "--algorithm=maml"],
            [
                *("--algorithm=maml", "--inner.learning_rate.per=weight"),
                "--inner.learning_rate=0.1",
            ],
        ),
        (
            ["--proximal_per=layer", "--learn_proximal_strength"],
            [
                "--algorithm.proximal_strength.per=layer",
                "--algorithm.proximal_strength.learned",
            ],
        ),
        (
            ["--self_training=3", "--guess_temperature=0.2", "--balanced_queries"],
            [
                *("--wrapper=self_training", "--wrapper.rounds=3"),
                *("--wrapper.temperature=0.2", "--wrapper.balanced"),
            ],
        ),
        (["--self_training=3", "--self_training=0"], []),
        (["--dataset=sinusoid"], ["--data=sinusoid", "--data.shot=1", "--data.query=15"]),
        (["--model=conv4", "--dataset=sinusoid", "--shot=10", "--query=10"], ["--data=sinusoid"]),
        (
            ["--dataset=folder", "--data_dir=."],
            [
                *("--data=folder", "--data_dir=.", "--data.shot=1", "--data.query=15"),
                *("--data.channels=1", "--data.image_size=28"),
            ],
        ),
        (
            ["--model=resnet12", "--downsample=max", "--filters=8"],
            ["--model=resnet12", "--model.filters=8,20,40,80"],
        ),
        (["--outer_clip_norm=0", "--outer_weight_decay=0.1"], ["--outer.weight_decay=0.1"]),
        (["--notied_head", "--nomixed_precision", "--statistics=task", "--image_size=0"], []),
        (["--inner_steps", "3"], ["--inner.steps=3", "--inner.learning_rate=0.1"]),
    ],
)
def test_an_old_command_line_is_a_new_one(old, new):
    assert parsed(*old).settings == parsed(*new).settings


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recompute"], "is for --algorithm=maml"),
        (["--balanced_queries"], "is for --wrapper=self_training"),
        (["--dataset=cifar_fs", "--image_size=28"], "--data=cifar_fs is chosen"),
        (["--dataset=sinusoid", "--tied_head"], "--model=mlp is chosen"),
        (["--inner_steps=many"], "--inner.steps=many: expected a whole number"),
    ],
)
def test_old_flags_are_refused_by_their_new_names(flags, message):
    with pytest.raises(Exception, match=message):
        parsed(*flags)


def test_old_and_new_names_go_together():
    settings = parsed("--inner.steps=3", "--inner_learning_rate=0.2", "--filters=8").settings
    assert (settings["inner.steps"], settings["inner.learning_rate"]) == (3, 0.2)
    assert settings["model.filters"] == 8


def test_every_old_name_is_reported_with_its_new_one():
    for old, new in old_names.RENAMED.items():
        (note,) = old_names.notes([parsing.Token(old, "1", "")])
        assert f"--{old} (now --{new[0]}" in note
