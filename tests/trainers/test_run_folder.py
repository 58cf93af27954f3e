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


def test_a_place_that_is_taken_is_refused(tmp_path, capsys, train):
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(SystemExit):
            train(f"--run_dir={place}")
        assert f"{file} is a file, expected a folder" in capsys.readouterr().err
