"""What a run folder keeps, and when it refuses."""

import pytest

from trainers import evaluate as evaluator
from trainers import parsing, run_folder
from trainers import train as trainer


@pytest.fixture
def train(tmp_path):
    """Parse a command line and keep its flags, as `trainers.train` begins."""

    def run(*arguments):
        command = parsing.parse(trainer.PROGRAM, [f"--run_dir={tmp_path}", *arguments])
        run_folder.keep_flags(command.settings, command.run_dir)
        return (tmp_path / "flags.txt").read_text()

    return run


def test_settings_are_free_until_something_is_trained(train, tmp_path):
    assert "--data.way=50" in train("--data.way=50")
    assert "--data.way=5\n" in train("--data.way=5")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").touch()
    kept = train("--data.way=5")
    with pytest.raises(ValueError, match="it has --data.way=5, and here are --data.way=50"):
        train("--data.way=50")
    assert (tmp_path / "flags.txt").read_text() == kept


def test_the_data_of_a_trained_run_may_move(train, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").touch()
    first_flag, second_flag = (f"--data_dir={tmp_path / place}" for place in ("here", "there"))
    assert first_flag in train(first_flag)
    moved_flags = train(second_flag)
    assert second_flag in moved_flags and first_flag not in moved_flags
    assert second_flag in train()  # not named: as it was


OLD = """--dataset=glyphs
--way=5
--shot=1
--query=15
--inner_solver=gradient_descent
--inner_steps=8
--inner_linear_steps=5
--inner_momentum=0.9
--nostrongly_convex_momentum
--learn_inner_rate=none
--linear_solver=conjugate_gradient
--proximal_per=model
--outer_clip_norm=0.0
--statistics=task
--nomixed_precision
--adapt=
"""


def test_a_run_with_old_flags_resumes(train, evaluate, tmp_path):
    (tmp_path / "flags.txt").write_text(OLD)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").touch()
    kept_flags = train("--inner.steps=8", "--inner.learning_rate=0.1")
    assert kept_flags == train("--inner_steps=8") == OLD  # nothing has changed
    with pytest.raises(ValueError, match="it has --inner.steps=8, and here are --inner.steps=7"):
        train("--inner.steps=7", "--inner.learning_rate=0.1")
    settings, of_run = evaluate("--inner.steps=7")
    assert (settings["inner.steps"], of_run["inner.steps"]) == (7, 8)
    assert settings.changes_from(of_run) == {"inner.steps": 7}


@pytest.fixture
def evaluate(tmp_path):
    """Parse the command line of a program that takes a run; its settings and those of the run."""

    def run(*arguments):
        command = parsing.parse(evaluator.PROGRAM, [f"--run_dir={tmp_path}", *arguments])
        of_run = run_folder.settings_of_run(command.settings, command.run_dir)
        return command.settings, of_run

    return run


def test_flags_of_the_command_line_override_those_of_a_run(train, evaluate):
    train("--adapt=head", "--wrapper=self_training", "--wrapper.rounds=3", "--data.shot=2")
    settings, of_run = evaluate(
        "--wrapper.balanced", "--model.dtype=mixed_bfloat16", "--data.shot=5"
    )
    balanced = "wrapper.balanced"
    assert (of_run["data.shot"], of_run["wrapper.rounds"], of_run[balanced]) == (2, 3, False)
    assert (settings["data.shot"], settings["wrapper.rounds"], settings.adapt) == (5, 3, ("head",))
    assert settings[balanced] and settings["model.dtype"] == "mixed_bfloat16"


def test_another_component_takes_the_place_of_that_of_the_run(train, evaluate, tmp_path):
    train("--inner.learning_rate=0.3", "--inner.steps=7")
    settings, of_run = evaluate("--inner=newton_cg", "--inner.linear_steps=2")
    assert (of_run["inner"], of_run["inner.steps"]) == ("gradient_descent", 7)
    assert settings["inner"] == "newton_cg"
    assert (settings["inner.steps"], settings["inner.linear_steps"]) == (4, 2)
    default_settings, _ = evaluate("--inner=gradient_descent")
    assert default_settings["inner.steps"] == 7
    command = parsing.parse(evaluator.PROGRAM, [f"--run_dir={tmp_path}", "--inner=newton_cg"])
    (note,) = command.notes
    assert "not used are --inner.steps=7 --inner.learning_rate=0.3" in note


@pytest.mark.parametrize(
    ("preset", "given", "unused"),
    [
        (["--linear=dual", "--inner.steps=3"], "--algorithm=maml", "--linear=dual"),
        (["--data=glyphs", "--model.filters=8"], "--data=sinusoid", "--model.filters=8"),
        (["--algorithm.proximal_strength=3"], "--algorithm=maml", "--algorithm.proximal_str"),
        (["--algorithm.proximal_strength=3"], "--algorithm=fomaml", "--algorithm.proximal_str"),
        (["--inner.steps=3"], "--inner_solver=adam", "--inner.steps=3"),
    ],
)
def test_another_component_takes_the_place_of_that_of_a_preset(tmp_path, preset, given, unused):
    (tmp_path / "preset.flags").write_text("\n".join(preset))
    file = f"--flagfile={tmp_path / 'preset.flags'}"
    note = parsing.parse(trainer.PROGRAM, ["--run_dir=x", file, given]).notes[0]
    assert "takes the place of another choice" in note and unused in note


def test_the_data_of_a_run_that_is_evaluated_may_have_moved(train, evaluate, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    train("--data=folder", f"--data_dir={tmp_path / 'here'}")
    (tmp_path / "here").rmdir()
    settings, of_run = evaluate(f"--data_dir={tmp_path / 'there'}")
    assert of_run["data"] == "folder"
    assert settings.data_dir == str(tmp_path / "there")
    with pytest.raises(ValueError, match="must be an existing folder"):
        evaluate()


@pytest.mark.parametrize(
    ("of_run", "given", "message"),
    [
        (
            ["--wrapper=self_training", "--wrapper.balanced"],
            ["--wrapper=none", "--wrapper.rounds=3"],
            "--wrapper.rounds=3 is for --wrapper=self_training",
        ),
        (["--linear=dual"], ["--algorithm.curvature=hessian"], "curvature=gauss_newton"),
        (["--data.way=7"], ["--model.tied_head"], "weights that are trained cannot become others"),
        (["--adapt=head"], ["--features=elsewhere"], "flags.txt has --features=none"),
        ([], ["--model.filters=9"], "--model.filters=9: "),
        ([], ["--model=resnet12"], "--model=resnet12"),
        ([], ["--learned_loss"], "--learned_loss=true"),
        ([], ["--nonsense=9"], "Unknown command line flag 'nonsense'"),
    ],
)
def test_flags_that_do_not_fit_a_run_are_refused(train, evaluate, of_run, given, message):
    train(*of_run)
    with pytest.raises(ValueError, match=message):
        evaluate(*given)


def test_a_flag_in_flags_txt_that_is_unknown_is_named_with_the_file(train, evaluate, tmp_path):
    train()
    with open(tmp_path / "flags.txt", "a", encoding="utf-8") as stream:
        stream.write("--nonsense=9\n")
    with pytest.raises(ValueError, match="'nonsense' in .*flags.txt"):
        evaluate()


def test_a_place_that_is_taken_is_refused(tmp_path, train):
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(ValueError, match="is a file, expected a folder"):
            train(f"--run_dir={place}")
