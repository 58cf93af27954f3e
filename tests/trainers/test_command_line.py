"""Flags of the trainers: which are shown, what importing defines, and paths of any kind."""

import os
import subprocess
import sys

import pytest
from absl import flags

from tests.trainers.test_trainers import ROOT
from trainers import command_line, result

TRAINERS = ("train", "evaluate", "adapt", "export")
OWN = {"train": "test_tasks", "evaluate": "split", "adapt": "support_dir", "export": "request"}


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("trainer", TRAINERS)
def test_help_shows_shared_and_own_flags(trainer):
    code = f"import runpy, sys; sys.argv = ['{trainer}', '--help']; "
    shown = python(f"{code}runpy.run_module('trainers.{trainer}', run_name='__main__')").stdout
    for name in ("run_dir", "dataset", "data_dir", "cores", OWN[trainer]):
        assert f"--{name}:" in shown or f"--[no]{name}:" in shown, name


def test_importing_trainers_defines_nothing():
    code = f"""
import importlib
from absl import app, flags
before = set(flags.FLAGS)
for name in {TRAINERS}:
    module = importlib.import_module("trainers." + name)
    importlib.reload(module)
assert set(flags.FLAGS) == before, set(flags.FLAGS) - before
for name in {TRAINERS} * 2:  # one after the other in a process
    importlib.reload(importlib.import_module("trainers." + name)).define_flags()
from trainers import command_line
command_line.define_shared()
assert {{"run_dir", "split", "invert", "steps"}} <= set(flags.FLAGS)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def parse():
    def run(*arguments):
        command_line.parse(["train", *arguments], ("run_dir",))
        return flags.FLAGS

    command_line.define_shared()
    flags.FLAGS.unparse_flags()
    yield run
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()


@pytest.mark.parametrize("name", ["[1]", "run[a/b]", "a\\b"])
def test_names_that_are_patterns_for_tensorflow_are_refused(parse, name, capsys):
    with pytest.raises(SystemExit):
        parse(f"--run_dir=runs/{name}")
    message = capsys.readouterr().err
    assert name in message and "expected a name without them" in message


@pytest.mark.parametrize("name", ["with spaces", "grün", "a{b}#%$'", "a*b?c[d"])
def test_other_names_are_taken(parse, name, tmp_path):
    assert parse(f"--run_dir={tmp_path / name}").run_dir == str(tmp_path / name)


@pytest.mark.parametrize("flag", ["run_dir", "data_dir", "features"])
def test_paths_begin_in_the_home_folder(parse, flag, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "place").mkdir()
    parsed = parse("--run_dir=runs/a", f"--{flag}=~/place")
    assert getattr(parsed, flag) == str(tmp_path / "place")


def test_flags_of_a_run_are_read_whatever_the_locale(tmp_path):
    (tmp_path / "flags.txt").write_text("--features=grün\n--way=7\n", encoding="utf-8")
    code = """
import os
from absl import flags
from trainers import command_line, run_folder
argv = ["evaluate", "--run_dir=" + os.environ["PLACE"]]
command_line.parse(argv, (), run_folder.with_flags_of_run)
assert run_folder.settings_of_run()["way"] == 7
assert flags.FLAGS.features == "gr\\u00fcn"
"""
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = python(code, PLACE=str(tmp_path), **ascii_alone)
    assert done.returncode == 0, done.stderr


def test_letters_that_the_locale_has_not_are_refused(parse, capsys):
    with pytest.raises(SystemExit):
        parse("--run_dir=gr\udcc3\udcbcn")  # as Python reads ü where the locale is ASCII
    assert "PYTHONUTF8=1" in capsys.readouterr().err


def test_systems_without_affinity_have_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert result.available_cores() == os.cpu_count()
