"""Command lines: paths of any kind, letters of any kind, systems of any kind."""

import os

import pytest

from trainers import parsing, result, run_folder
from trainers.train import PROGRAM


def parse(*arguments):
    return parsing.parse(PROGRAM, arguments)


@pytest.mark.parametrize("name", ["[1]", "run[a/b]", "a\\b"])
def test_names_that_are_patterns_for_tensorflow_are_refused(name):
    with pytest.raises(ValueError, match="expected a name without them") as error:
        parse(f"--run_dir=runs/{name}")
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["with spaces", "grün", "a{b}#%$'", "a*b?c[d"])
def test_other_names_are_taken(name, tmp_path):
    assert parse(f"--run_dir={tmp_path / name}").run_dir == str(tmp_path / name)


@pytest.mark.parametrize("flag", ["data_dir", "features"])
def test_paths_begin_in_the_home_folder(flag, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "place").mkdir()
    command = parse("--run_dir=~/run", f"--{flag}=~/place")
    assert command.run_dir == str(tmp_path / "run")
    assert getattr(command.settings, flag) == str(tmp_path / "place")


def test_flags_of_a_run_are_read_in_utf_8(tmp_path):
    file = tmp_path / "flags.txt"
    file.write_bytes("--features=grün\n--data.way=7\n".encode())
    settings = parsing.settings_of_file(str(file))
    assert settings.features == "grün" and settings["data.way"] == 7
    run_folder.keep_flags(settings, str(tmp_path))
    assert "--features=grün\n".encode() in file.read_bytes()


def test_letters_that_the_locale_has_not_are_refused():
    with pytest.raises(ValueError, match="PYTHONUTF8=1"):
        parse("--run_dir=gr\udcc3\udcbcn")  # as Python reads ü where the locale is ASCII


def test_systems_without_affinity_have_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert result.available_cores() == os.cpu_count()
