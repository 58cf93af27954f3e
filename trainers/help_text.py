"""What `--help` and `--helpfull` show: the flags in groups, two screens of them or all."""

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from trainers import parsing, tokens
from trainers.arguments import Argument, as_text
from trainers.command_line import Program
from trainers.components import CHOICES, has_linear

WIDTH = 100
_COLUMN = 39  # where the help of a flag begins
_RARE = ("first_inner_steps", "growth_steps")  # lines of their own with --helpfull alone
_GROUPS = {
    "run": ("features", "steps_per_epoch", "seed"),
    "data": ("data_dir", "training_way", "distort", "tasks_per_step", "tasks_per_chunk"),
    "model": ("views", "view_size"),
    "algorithm": ("adapt", "transductive", "learned_loss"),
    "inner": _RARE,
    "linear": (),
    "outer": (),
}


def asked(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    words = {word.lstrip("-") for word in argv if word.startswith("-")}
    return bool(words & {"help", "helpshort", "helpfull"})


def text(program: Program, argv: Sequence[str] = ()) -> str:
    """The flags of a program, with those of the components that the command line chooses.

    With `--helpfull`, those of all components.
    """
    full = any(word.lstrip("-") == "helpfull" for word in argv)
    arguments = parsing.own_arguments(program)
    words = [word for word in argv if word.lstrip("-") not in ("help", "helpshort", "helpfull")]
    chosen = parsing.chosen_by(tokens.read(words, parsing.booleans(arguments)))
    (first, *_) = (inspect.getdoc(program.function) or "").splitlines()
    lines = [_cut(f"trainers.{program.name.removesuffix('.py')}: {first}")]
    if not full:
        lines += [
            "A component is a choice (module.name: one of your own), and its flags are its",
            "constructor's arguments. --helpfull shows those that are not chosen, too.",
        ]
    for group, names in _GROUPS.items():
        rare = [] if full else [name for name in names if name in _RARE]
        lines += [f"{group} ({_see_all(rare)}):" if rare else f"{group}:"]
        if group == "run":
            lines += _lines([parsing.RUN_DIR], full)
            lines += _lines([a for a in arguments.values() if a.name in ("steps", "verbose")], full)
        parts = {"algorithm": ("algorithm", "wrapper")}.get(group, (group,))
        for part in (p for p in parts if p in CHOICES):
            lines += _component(part, chosen, full)
        lines += _lines((parsing.PLAIN[name] for name in names if name not in rare), full)
    lines += [f"{program.group}:"]
    lines += _lines((a for a in arguments.values() if a.name not in ("steps", "verbose")), full)
    if full:
        lines += ["machine:"]
        lines += _lines([*parsing.MACHINE.values(), parsing.DEBUG], full)
    else:
        lines += [f"  {_see_all([*parsing.MACHINE, 'debug'])}"]
    return "\n".join(lines)


def _see_all(names: Iterable[str]) -> str:
    return f"--{' --'.join(names)}: see --helpfull"


def _component(part: str, chosen: dict[str, str], full: bool) -> Iterator[str]:
    choice = CHOICES[part]
    options = [*choice.names, "module.name"]
    if part == "linear" and not has_linear(chosen["algorithm"]) and not full:
        yield f"  (--algorithm={chosen['algorithm']} solves no linear system)"
        return
    named = f"  --{part}={chosen[part]}"
    alternatives = [option for option in options if option != chosen[part]]
    if full:
        yield named
        yield from _wrapped(f"{choice.help} Or {', '.join(alternatives)}.", 6)
    else:
        first, *lines = _wrapped(f"or {', '.join(alternatives)}", _COLUMN)
        yield f"{named:<{_COLUMN}}{first.lstrip()}"
        yield from lines
    for option in choice.options if full else (chosen[part],):
        if full:
            yield f"   of --{part}={option}:"
        yield from _lines(choice.arguments(option).values(), full, f"{part}.")


def _lines(arguments: Iterable[Argument], full: bool, prefix: str = "") -> Iterator[str]:
    for argument in arguments:
        unset = argument.required or argument.default is None
        default = "" if unset else f"={as_text(argument.default)}"
        named = f"  --{prefix}{argument.name}{default}"
        if full:
            yield named
            yield from _wrapped(argument.help, 6)
        else:
            sentence = argument.help.partition(". ")[0].replace("`", "").removesuffix(".")
            yield _cut(f"{named:<{_COLUMN - 1}} {sentence}")


def _wrapped(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3].rstrip() + "..."
