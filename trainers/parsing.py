"""From the flags of a command line, flag files and a run folder to settings."""

import dataclasses
import difflib
import inspect
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from trainers import old_names, rules, tokens
from trainers.arguments import Argument, arguments_of, as_text
from trainers.command_line import Command, Program, check_folder, refuse, refuse_undecoded
from trainers.components import CHOICES, Component, default_model, has_linear
from trainers.settings import Machine, Settings
from trainers.tokens import Token

_GIVEN = ("settings", "run_dir", "machine")
_PATHS = {"run_dir", "data_dir", "features", "support_dir", "output", "request"}
RUN_DIR = Argument(
    "run_dir", str, inspect.Parameter.empty, "Folder of the run: checkpoints, logs, result.json."
)
DEBUG = Argument("debug", bool, False, "Show the whole traceback of an error.")
PLAIN = arguments_of(Settings, CHOICES.keys())
MACHINE = arguments_of(Machine)


def parse(program: Program, argv: Sequence[str]) -> Command:
    """The settings of a command line; a `ValueError` says in one line what is wrong with it."""
    of_program = own_arguments(program)
    refuse_undecoded(argv)
    given = _expanded(tokens.read(argv, booleans(of_program)))
    run_dir = _last(given, "run_dir") or ""
    without_run = "learner" in of_program and _last(given, "learner") is not None
    if without_run:
        _check_no_run(given, {**of_program, **MACHINE, "debug": DEBUG})
    elif not run_dir:
        refuse(f"--run_dir {'or --learner ' * ('learner' in of_program)}is missing")
    check_folder("run_dir", run_dir)
    if program.of_run and not without_run:
        file = os.path.join(run_dir, "flags.txt")
        if not os.path.isfile(file):
            refuse(f"--run_dir={run_dir} holds no flags.txt: expected the folder of a run")
        given = [*tokens.of_file(file, booleans(of_program)), *given]
    settings, values, notes = _settings(given, {**of_program, **MACHINE, "debug": DEBUG})
    missing = [name for name in of_program if of_program[name].required and values[name] is None]
    if missing:
        refuse(f"--{missing[0]} is missing")
    machine = Machine(**_known(values, MACHINE))
    rules.check(settings, machine)
    return Command(
        settings, machine, run_dir, _known(values, of_program), tuple(notes), bool(values["debug"])
    )


def _check_no_run(given: Iterable[Token], known: Collection[str]) -> None:
    """Refuse flags of a run beside --learner, which has settings of its own."""
    unknown = [str(token) for token in given if token.name not in known]
    if unknown:
        refuse(f"--learner has its own settings: expected no {' '.join(unknown)} beside it")


def settings_of_file(path: str) -> Settings:
    """The settings in a flag file, such as a preset or a run's flags.txt."""
    from trainers import train

    arguments = {**own_arguments(train.PROGRAM), **MACHINE}
    return _settings(tokens.of_file(path, booleans(arguments)), arguments)[0]


def settings_of_values(values: Mapping[str, Any]) -> Settings:
    """Settings from values by the names of flags, such as those in a result.json, old or new."""
    given = [Token(name, as_text(value), "") for name, value in values.items() if value is not None]
    return _settings(given, {})[0]


def own_arguments(program: Program) -> dict[str, Argument]:
    """The flags of a program itself."""
    return arguments_of(program.function, _GIVEN)


def booleans(of_program: Mapping[str, Argument]) -> set[str]:
    """Names of flags that may stand without a value."""
    known = {**PLAIN, **MACHINE, **of_program, "debug": DEBUG}
    names = {name for name, argument in known.items() if argument.is_bool} | old_names.BOOLEANS
    for part, choice in CHOICES.items():
        for option in choice.options:
            arguments = choice.arguments(option).items()
            names |= {f"{part}.{name}" for name, argument in arguments if argument.is_bool}
    return names


def chosen_by(given: Iterable[Token]) -> dict[str, str]:
    """The option of each component."""
    defaults = {f.name: f.default for f in dataclasses.fields(Settings)}
    chosen = {name: defaults[name].name for name in CHOICES if name != "model"}
    model = None
    for token in given:
        name, option = old_names.choice(token) or (token.name, token.value or "")
        if name == "model":
            model = option
        elif name in CHOICES:
            chosen[name] = option
    old = any(token.name == "dataset" for token in given)
    for name in (n for n in CHOICES if n != "model"):
        CHOICES[name].factory(chosen[name])  # refuses what there is not
    default = default_model(chosen["data"])
    images = old and default == "mlp"  # the network of images, which is not meant
    chosen["model"] = default if model is None or images else model
    CHOICES["model"].factory(chosen["model"])
    return chosen


def _expanded(given: Iterable[Token]) -> list[Token]:
    """Paths that begin with `~` begin with the home folder."""
    return [
        dataclasses.replace(token, value=os.path.expanduser(token.value))
        if token.name in _PATHS and token.value
        else token
        for token in given
    ]


def _settings(
    given: Sequence[Token], plain: Mapping[str, Argument]
) -> tuple[Settings, dict[str, Any], list[str]]:
    """The settings, the values of the other flags, and notes."""
    chosen = chosen_by(given)
    kept, notes = _without_replaced(given, chosen)
    notes += old_names.notes(kept)
    kept = old_names.translated(kept, chosen)
    defined = flags.FlagValues()
    parts: dict[str, Argument] = {}
    for part, choice in CHOICES.items():
        if part == "linear" and not has_linear(chosen["algorithm"]):
            continue
        parts |= {f"{part}.{n}": a for n, a in choice.arguments(chosen[part]).items()}
        flags.DEFINE_string(part, None, choice.help, flag_values=defined)
    for name, argument in {**parts, **PLAIN, **plain, "run_dir": RUN_DIR}.items():
        argument.define(defined, name.removesuffix(argument.name))
    stray = [str(token) for token in kept if not token.name]
    if stray:
        refuse(f"unexpected arguments {stray}: every setting is a --flag=value")
    for token in kept:
        if token.name not in defined:
            refuse(_unknown(token, chosen, list(defined)))
    defined(["trainer", *map(str, kept)])
    values = {name: defined[name].value for name in defined}
    components: dict[str, Any] = {
        part: Component(
            option,
            {
                name: values[f"{part}.{name}"]
                for name in CHOICES[part].arguments(option)
                if values.get(f"{part}.{name}") is not None or _is_none(kept, f"{part}.{name}")
            },
        )
        for part, option in chosen.items()
    }
    return Settings(**components, **_known(values, PLAIN)), values, notes


def _known(values: Mapping[str, Any], arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """The values that were given."""
    return {name: values[name] for name in arguments if values.get(name) is not None}


def _last(given: Iterable[Token], name: str) -> str | None:
    values = [token.value for token in given if token.name == name]
    return values[-1] if values else None


def _is_none(given: Iterable[Token], name: str) -> bool:
    return (_last(given, name) or "").lower() == "none"


def _without_replaced(
    given: Sequence[Token], chosen: Mapping[str, str]
) -> tuple[list[Token], list[str]]:
    """The flags without those of a component in whose place a later source chose another one."""
    notes: list[str] = []
    kept = list(given)
    for part in CHOICES:
        places = _choices(kept, part)
        if not places:
            continue
        last, option, source = places[-1]
        earlier = [token for token in kept[:last] if token.source != source]
        dropped = [
            token
            for token in earlier
            if token.name.startswith(f"{part}.") and _option_for(token, places, part) != option
        ]
        if part == "algorithm" and not has_linear(chosen["algorithm"]):
            dropped += [t for t in earlier if t.name.partition(".")[0] == "linear"]
        if dropped:
            notes.append(
                f"--{part}={option} takes the place of another choice: not used are "
                f"{' '.join(map(str, dropped))} of {dropped[0].source}"
            )
            kept = [token for token in kept if token not in dropped]
    return kept, notes


def _choices(given: Sequence[Token], part: str) -> list[tuple[int, str, str]]:
    """Where a component is chosen, what, and by which source."""
    choices: list[tuple[int, str, str]] = []
    of_data: list[tuple[int, str, str]] = []  # a data set chooses a network, if none is chosen
    for place, token in enumerate(given):
        name, option = old_names.choice(token) or (token.name, token.value or "")
        if name == part:
            choices.append((place, option, token.source))
        elif name == "data" and part == "model":
            of_data.append((place, default_model(option), token.source))
    return choices or of_data


def _option_for(token: Token, places: Sequence[tuple[int, str, str]], part: str) -> str:
    """The option of a component that the source of one of its flags has chosen."""
    options = [option for _, option, source in places if source == token.source]
    return options[-1] if options else chosen_by([])[part]


def _unknown(token: Token, chosen: Mapping[str, str], known: Sequence[str]) -> str:
    """Why there is no such flag."""
    part, _, argument = token.name.partition(".")
    if part == "linear" and part not in known:
        return f"{token}: --algorithm={chosen['algorithm']} solves no linear system"
    if argument and part in CHOICES:
        choice = CHOICES[part]
        owners = [o for o in choice.options if argument in choice.arguments(o)]
        if owners:
            return (
                f"{token} is for --{part}={' or '.join(owners)}, and --{part}={chosen[part]} is "
                "chosen"
            )
    close = difflib.get_close_matches(token.name, [*known, *old_names.RENAMED], 1, 0.5)
    of_file = "" if token.source == tokens.COMMAND_LINE else f" in {token.source}"
    meant = f"did you mean --{close[0]}? " if close else ""
    return f"Unknown command line flag '{token.name}'{of_file}: {meant}--help lists all"
