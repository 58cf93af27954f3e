"""Flags by the names they had before a component's flags were its constructor's arguments.

Command lines, flag files and run folders with the old names mean what they meant.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from trainers.arguments import as_text
from trainers.components import CHOICES, has_linear, of_classes
from trainers.tokens import Token

# An old name, and the new names it may stand for: those that the chosen components have.
RENAMED: dict[str, tuple[str, ...]] = {
    "dataset": ("data",),
    "inner_solver": ("inner",),
    "linear_solver": ("linear",),
    "way": ("data.way",),
    "shot": ("data.shot",),
    "query": ("data.query",),
    "image_size": ("data.image_size",),
    "channels": ("data.channels",),
    "classes": ("model.classes",),
    "filters": ("model.filters",),
    "downsample": ("model.downsample",),
    "tied_head": ("model.tied_head",),
    "cosine": ("model.cosine",),
    "centered": ("model.centered",),
    "statistics": ("model.fixed_statistics",),
    "mixed_precision": ("model.dtype",),
    "inner_steps": ("inner.steps",),
    "inner_linear_steps": ("inner.linear_steps",),
    "inner_learning_rate": ("inner.learning_rate", "inner.first_step"),
    "inner_momentum": ("inner.momentum",),
    "strongly_convex_momentum": ("inner.momentum",),
    "learn_inner_rate": ("inner.learning_rate.per",),
    "recompute": ("algorithm.recompute",),
    "proximal_strength": ("algorithm.proximal_strength",),
    "proximal_per": ("algorithm.proximal_strength.per",),
    "learn_proximal_strength": ("algorithm.proximal_strength.learned",),
    "curvature": ("algorithm.curvature", "inner.curvature"),
    "linear_steps": ("linear.max_steps", "linear.rank"),
    "linear_start": ("linear.start",),
    "self_training": ("wrapper.rounds",),
    "guess_temperature": ("wrapper.temperature",),
    "balanced_queries": ("wrapper.balanced",),
    "outer_learning_rate": ("outer.learning_rate",),
    "outer_epsilon": ("outer.epsilon",),
    "outer_clip_norm": ("outer.clip_norm",),
    "outer_weight_decay": ("outer.weight_decay",),
    "outer_schedule": ("outer.schedule",),
}
BOOLEANS = frozenset(
    {
        *("tied_head", "cosine", "centered", "mixed_precision", "strongly_convex_momentum"),
        *("recompute", "learn_proximal_strength", "balanced_queries"),
    }
)
# Defaults that differ from those of the constructors: of whoever chooses by an old name.
_DEFAULTS: dict[str, dict[str, str]] = {
    "dataset": {"shot": "1", "query": "15", "channels": "1", "image_size": "0"},
    "inner_solver": {"inner_steps": "16", "inner_learning_rate": "0.1", "inner_momentum": "0.9"},
    "inner_steps": {"inner_learning_rate": "0.1"},
    "inner_momentum": {"inner_learning_rate": "0.1"},
    "learn_inner_rate": {"inner_learning_rate": "0.1"},
    "strongly_convex_momentum": {"inner_learning_rate": "0.1"},
    "linear_solver": {"linear_steps": "5"},
}
# Values that ask for nothing, and may be given where no component knows the flag.
_NEUTRAL: dict[str, str] = {
    **dict.fromkeys(sorted(BOOLEANS), "false"),
    **dict.fromkeys(("classes", "image_size"), "0"),
    "downsample": "stride",
}
# Flags that were ignored where no component had a use for them.
_IGNORED = frozenset(
    {
        *("way", "channels", "filters", "curvature", "linear_solver", "linear_steps"),
        *("linear_start", "inner_linear_steps", "inner_learning_rate", "proximal_strength"),
        *("guess_temperature",),
    }
)
_NONE_BY_ZERO = frozenset({"classes", "outer_clip_norm", "outer_weight_decay"})


class _Context(NamedTuple):
    """What the flags are for.

    Attributes:
        chosen: The option of each component.
        last: The value of each flag, the last one where there are several.
    """

    chosen: Mapping[str, str]
    last: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether the chosen components have the flag of this (new) name."""
        part, _, argument = name.partition(".")
        if part == "linear" and not has_linear(self.chosen["algorithm"]):
            return False
        return not argument or argument in CHOICES[part].arguments(self.chosen[part])


def is_old(token: Token) -> bool:
    """Whether a flag has an old name, or a value of old times."""
    return token.name in RENAMED or (token.name, token.value) == ("algorithm", "fomaml")


def choice(token: Token) -> tuple[str, str] | None:
    """The component and the option that a flag of an old name chooses."""
    value = token.value or ""
    if (token.name, value) == ("algorithm", "fomaml"):
        return "algorithm", "maml"
    if token.name == "self_training":
        return "wrapper", "none" if value == "0" else "self_training"
    if token.name == "inner_solver":
        return "inner", "gradient_descent" if value == "nesterov" else value
    if token.name in ("dataset", "linear_solver"):
        return RENAMED[token.name][0], value
    return None


def notes(tokens: Sequence[Token]) -> list[str]:
    """What the user is told of old names, in one line or none."""
    pairs = {t.name: RENAMED.get(t.name, ("algorithm.first_order",)) for t in tokens if is_old(t)}
    if not pairs:
        return []
    # Of a run folder there are many: a few are enough to say what is meant.
    shown = ", ".join(f"--{old} (now --{' or --'.join(new)})" for old, new in [*pairs.items()][:3])
    omitted = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return [f"Read flags by their old names: {shown}{omitted}. --help lists the new ones"]


def translated(tokens: Sequence[Token], chosen: Mapping[str, str]) -> list[Token]:
    """The flags by their new names, for the components that are chosen."""
    context = _Context(chosen, {token.name: token.value or "" for token in tokens})
    renamed: list[Token] = []
    for owner, defaults in _DEFAULTS.items():  # the first, so that any other flag is above them
        if owner in context.last:
            for name, value in defaults.items():
                renamed += _renamed(Token(name, value, "old"), context)
    for token in tokens:
        if is_old(token):
            renamed += _renamed(token, context)
        elif token.name == "model" and "dataset" in context.last and not of_classes(chosen["data"]):
            continue  # the network of images, of which sinusoids had no use
        else:
            renamed.append(token)
    return renamed


def _renamed(token: Token, context: _Context) -> list[Token]:
    name, value = token.name, token.value or ""
    to = [new for new in RENAMED.get(name, ()) if context.has(new)]
    if name in _SPECIAL:
        pairs = _SPECIAL[name](value, context)
    elif not to:
        ignored = name in _IGNORED or value == _NEUTRAL.get(name)
        pairs = [] if ignored else [(RENAMED[name][0], value)]
    elif name in _NONE_BY_ZERO and value in ("0", "0.0"):
        pairs = [(to[0], "none")]
    else:
        pairs = [(new, value) for new in to]
    return [Token(new, text, token.source) for new, text in pairs]


_Pairs = list[tuple[str, str]]


def _algorithm(value: str, context: _Context) -> _Pairs:
    last = context.last["algorithm"] == "fomaml"
    return [("algorithm", "maml"), *[("algorithm.first_order", "true")] * last]


def _inner_solver(value: str, context: _Context) -> _Pairs:
    if value != "nesterov":
        return [("inner", value)]
    last = context.last["inner_solver"] == value and context.has("inner.nesterov")
    return [("inner", "gradient_descent"), *[("inner.nesterov", "true")] * last]


def _momentum(value: str, context: _Context) -> _Pairs:
    nesterov = context.last.get("inner_solver") == "nesterov" and context.has("inner.nesterov")
    convex = context.last.get("strongly_convex_momentum") == "true"
    return [("inner.momentum", value)] if nesterov and not convex else []


def _convex(value: str, context: _Context) -> _Pairs:
    nesterov = context.last.get("inner_solver") == "nesterov"
    looked_at = nesterov or context.chosen["algorithm"] != "imaml"
    return [("inner.momentum", "strongly_convex")] if value == "true" and looked_at else []


def _learned_rate(value: str, context: _Context) -> _Pairs:
    return [] if value == "none" else [("inner.learning_rate.per", value)]


def _proximal_strength(value: str, context: _Context) -> _Pairs:
    # Only what had a proximal term in old times looked at it.
    with_it = context.has("algorithm.proximal_strength") and context.chosen["algorithm"] != "maml"
    return [("algorithm.proximal_strength", value)] if with_it else []


def _proximal_per(value: str, context: _Context) -> _Pairs:
    return [] if value == "model" else [("algorithm.proximal_strength.per", value)]


def _proximal_learned(value: str, context: _Context) -> _Pairs:
    return [] if value == "false" else [("algorithm.proximal_strength.learned", value)]


def _self_training(value: str, context: _Context) -> _Pairs:
    if context.last["self_training"] == "0":
        return [("wrapper", "none")]
    return [("wrapper", "self_training"), ("wrapper.rounds", value)]


def _image_size(value: str, context: _Context) -> _Pairs:
    known = CHOICES["data"].arguments(context.chosen["data"]).get("image_size")
    if known is None:  # of 32 pixels, where it may be named
        named = value in ("0", "32" if context.chosen["data"] == "cifar_fs" else "0")
        return [] if named else [("data.image_size", value)]
    default = "28" if context.chosen["data"] == "folder" else as_text(known.default)
    return [("data.image_size", default if value == "0" else value)]


def _statistics(value: str, context: _Context) -> _Pairs:
    known = context.has("model.fixed_statistics")
    fixed = "true" if value == "training" else "false"
    return [("model.fixed_statistics", fixed)] if known or value == "training" else []


def _mixed(value: str, context: _Context) -> _Pairs:
    return [("model.dtype", "mixed_bfloat16" if value == "true" else "none")]


def _filters(value: str, context: _Context) -> _Pairs:
    if context.chosen["model"] == "resnet12" and value.isdecimal():
        return [("model.filters", ",".join(str(round(int(value) * w)) for w in (1, 2.5, 5, 10)))]
    return [("model.filters", value)] if context.has("model.filters") else []


_SPECIAL: dict[str, Callable[[str, _Context], _Pairs]] = {
    "algorithm": _algorithm,
    "filters": _filters,
    "image_size": _image_size,
    "inner_momentum": _momentum,
    "inner_solver": _inner_solver,
    "learn_inner_rate": _learned_rate,
    "learn_proximal_strength": _proximal_learned,
    "mixed_precision": _mixed,
    "proximal_per": _proximal_per,
    "proximal_strength": _proximal_strength,
    "self_training": _self_training,
    "statistics": _statistics,
    "strongly_convex_momentum": _convex,
}
