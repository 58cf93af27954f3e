"""What a run folder keeps, and when it refuses."""

import pytest
from absl import flags

from trainers import command_line, run_folder


@pytest.fixture
def train(tmp_path):
    """Parse a command line and keep its flags, as `trainers.train` begins."""

    def run(*arguments):
        flags.FLAGS.unparse_flags()
        command_line.parse(["train", f"--run_dir={tmp_path}", *arguments], ("run_dir",))
        run_folder.keep_flags()
        return (tmp_path / "flags.txt").read_text()

    yield run
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()


def test_settings_are_free_until_something_is_trained(train, tmp_path, capsys):
    assert "--way=50" in train("--way=50")
    assert "--way=5\n" in train("--way=5")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").touch()
    kept = train("--way=5")
    with pytest.raises(SystemExit):
        train("--way=50")
    assert "other settings (they differ in --way=5 --way=50)" in capsys.readouterr().err
    assert (tmp_path / "flags.txt").read_text() == kept


def test_the_data_of_a_trained_run_may_move(train, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").touch()
    here, there = (f"--data_dir={tmp_path / place}" for place in ("here", "there"))
    assert here in train(here)
    moved = train(there)
    assert there in moved and here not in moved
    assert there in train()  # not named: as it was


@pytest.fixture
def evaluate(train, tmp_path):
    """Parse the command line of a program that takes a run; the settings of the run."""

    def run(*arguments):
        flags.FLAGS.unparse_flags()
        for name in flags.FLAGS:
            flags.FLAGS[name].unparse()
        argv = ["evaluate", f"--run_dir={tmp_path}", *arguments]
        command_line.parse(argv, ("run_dir",), run_folder.with_flags_of_run)
        return run_folder.settings_of_run()

    return run


def test_flags_of_a_run_lie_under_those_of_the_command_line(train, evaluate):
    train("--adapt=head", "--self_training=8", "--shot=2")
    of_run = evaluate("--balanced_queries", "--mixed_precision", "--shot=5")
    assert (of_run["shot"], of_run["self_training"], of_run["balanced_queries"]) == (2, 8, False)
    now = run_folder.values()
    assert (now["shot"], now["self_training"], now["adapt"]) == (5, 8, ["head"])
    assert now["balanced_queries"] and now["mixed_precision"]


def test_the_data_of_a_run_that_is_evaluated_may_have_moved(train, evaluate, tmp_path, capsys):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    train("--dataset=folder", f"--data_dir={tmp_path / 'here'}")
    (tmp_path / "here").rmdir()
    assert evaluate(f"--data_dir={tmp_path / 'there'}")["dataset"] == "folder"
    assert flags.FLAGS.data_dir == str(tmp_path / "there")
    with pytest.raises(SystemExit):
        evaluate()
    assert "--data_dir must be an existing folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("of_run", "given", "message"),
    [
        (
            ["--self_training=8", "--balanced_queries"],
            "--self_training=0",
            "--balanced_queries is for --self_training (with those in flags.txt of the run)",
        ),
        (["--adapt=head"], "--algorithm=reptile", "--algorithm=reptile moves weights"),
        (["--linear_solver=dual"], "--curvature=hessian", "needs --curvature=gauss_newton"),
        (["--way=7"], "--tied_head", "weights that are trained cannot become others"),
        (["--adapt=head"], "--features=elsewhere", "flags.txt has --features=None"),
        ([], "--filters=9", "--filters=9: "),
        ([], "--nonsense=9", "Unknown command line flag 'nonsense'"),
    ],
)
def test_flags_that_do_not_fit_a_run_are_refused(train, evaluate, capsys, of_run, given, message):
    train(*of_run)
    with pytest.raises(SystemExit) as stopped:
        evaluate(given)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_flag_in_flags_txt_that_is_unknown_is_named_with_the_file(
    train, evaluate, tmp_path, capsys
):
    train()
    with open(tmp_path / "flags.txt", "a", encoding="utf-8") as stream:
        stream.write("--nonsense=9\n")
    with pytest.raises(SystemExit):
        evaluate()
    err = capsys.readouterr().err
    assert "nonsense" in err and "flags.txt" in err and len(err.splitlines()) == 1


def test_a_place_that_is_taken_is_refused(tmp_path, capsys, train):
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(SystemExit):
            train(f"--run_dir={place}")
        assert f"{file} is a file, expected a folder" in capsys.readouterr().err
