"""The commands in the documentation are taken, by old names or new."""

import dataclasses
import pathlib
import re
import shlex

import pytest

from trainers import adapt, demo, evaluate, export, parsing, predict, train

ROOT = pathlib.Path(__file__).absolute().parents[2]
PROGRAMS = {"adapt": adapt, "evaluate": evaluate, "export": export, "train": train}
PARSERS = {"demo": demo.parser, "predict": predict.parser}
FILES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "trainers").glob("*.py")]
# Places of a reader's machine, and stand-ins for what a reader chooses.
ELSEWHERE = ("--data_dir", "--run_dir", "--features", "--flagfile=FLAGS")


def commands():
    for file in FILES:
        text = re.sub(r"\\\n\s*", " ", file.read_text(encoding="utf-8"))
        for program, flags in re.findall(r'(?:-m trainers\.|keras-imaml )(\w+)([^\n`|&"]*)', text):
            if program in PARSERS:
                yield file.name, program, shlex.split(flags, comments=True)
            if program not in PROGRAMS:
                continue
            given = [word for word in shlex.split(flags, comments=True) if word.startswith("--")]
            yield file.name, program, [w for w in given if not w.startswith(ELSEWHERE)]


@pytest.mark.parametrize(("file", "name", "given"), list(commands()))
def test_a_documented_command_is_taken(file, name, given, monkeypatch):
    monkeypatch.chdir(ROOT)
    if name in PARSERS:
        PARSERS[name]().parse_args(given)
        return
    program = dataclasses.replace(PROGRAMS[name].PROGRAM, of_run=False)
    arguments = parsing.own_arguments(program)
    required_flags = [
        f"--{n}=x" for n, a in arguments.items() if a.required and f"--{n}" not in str(given)
    ]
    required_flags += [f"--data_dir={ROOT}"] * ("folder" in str(given))
    run = [] if "--learner" in str(given) else ["--run_dir=x"]
    parsing.parse(program, [*run, *given, *required_flags])
