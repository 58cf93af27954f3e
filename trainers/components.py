"""The components of a run: a component is a choice, and its flags are its constructor's arguments.

    --inner=newton_cg --inner.steps=5
    --inner=my_package.MySolver --inner.steps=5

A new solver of this package is one more entry of `CHOICES`; its flags follow from its signature,
and their help from its docstring.
"""

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras_imaml as ki
from trainers import outer
from trainers.arguments import Argument, arguments_of, called, takes


@dataclass(frozen=True)
class Choice:
    """One of several constructors.

    Attributes:
        name: Of the component and its flag.
        options: The constructors of this package by their names on a command line.
        help: What is chosen.
        hidden: Arguments that the trainers give, and that have no flags.
        filled: Arguments that the trainers give where their flags do not.
        optional: Whether `none` may be chosen.
    """

    name: str
    options: Mapping[str, Callable]
    help: str
    hidden: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()
    optional: bool = False

    @property
    def names(self) -> list[str]:
        """What may be chosen by name."""
        return [*self.options, *["none"] * self.optional]

    def factory(self, option: str) -> Callable | None:
        """The constructor that an option names, which may be one of a user's own module."""
        if option in self.options:
            return self.options[option]
        if self.optional and option == "none":
            return None
        module, _, name = option.rpartition(".")
        if not module or not all(map(str.isidentifier, option.split("."))):
            raise ValueError(f"--{self.name}={option}: expected {self._expected(option)}")
        try:
            factory = getattr(importlib.import_module(module), name)
        except Exception as error:  # a module of a user's own may raise anything
            raise ValueError(f"--{self.name}={option}: {type(error).__name__}: {error}") from error
        if not callable(factory):
            raise ValueError(f"--{self.name}={option}: expected a class or a function")
        return factory

    def arguments(self, option: str) -> dict[str, Argument]:
        """The arguments of an option that have flags."""
        factory = self.factory(option)
        known = arguments_of(factory, self.hidden) if factory else {}
        for name in self.filled & set(known):
            known[name] = replace(known[name], hint=known[name].hint | None, default=None)
        return known

    def takes(self, option: str, name: str) -> bool:
        """Whether the constructor of an option has this argument, hidden or not."""
        factory = self.factory(option)
        return factory is not None and takes(factory, name)

    def make(self, component: "Component", **given: Any) -> Any:
        """The object, with what its constructor takes of `given`."""
        factory = self.factory(component.name)
        if factory is None:
            return None
        unknown = set(component.arguments) - set(self.arguments(component.name))
        if unknown:
            raise ValueError(
                f"{self.name} {component.name!r} has no arguments {sorted(unknown)}: expected some "
                f"of {list(self.arguments(component.name))}"
            )
        try:
            return called(factory, dict(component.arguments), **given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--{self.name}={component.name}: {error}") from error

    def _expected(self, option: str) -> str:
        close = difflib.get_close_matches(option, self.names, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        return f"one of {', '.join(self.names)}, or one of your own as module.name{meant}"


@dataclass(frozen=True)
class Component:
    """What is chosen, and the arguments that are not at their defaults.

    Attributes:
        name: An option of the `Choice`, or `module.name` of a constructor.
        arguments: By name; those of an object that is an argument have dotted names.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def component(name: str | Callable, **arguments: Any) -> Component:
    """A component of `Settings`, such as `component("newton_cg", steps=5)`.

    Args:
        name: An option of the component, or a class or function of your own.
        **arguments: Of its constructor; `**{"learning_rate.per": "layer"}` is one of an object
            that is an argument.
    """
    if callable(name):
        name = f"{name.__module__}.{name.__qualname__}"
    return Component(name, arguments)


_DATA: dict[str, Callable] = {
    "glyphs": ki.data.glyphs,
    "omniglot": ki.data.omniglot,
    "mini_imagenet": ki.data.mini_imagenet,
    "cifar_fs": ki.data.cifar_fs,
    "folder": ki.data.from_folder,
    "sinusoid": ki.data.sinusoid,
    "unlabelled_sinusoid": ki.data.unlabelled_sinusoid,
}
_MODELS: dict[str, Callable] = {
    "conv4": ki.models.Conv4,
    "resnet12": ki.models.ResNet12,
    "mlp": ki.models.MLP,
}
_ALGORITHMS: dict[str, Callable] = {
    "imaml": ki.IMAML,
    "maml": ki.MAML,
    "reptile": ki.Reptile,
    "supervised": ki.algorithms.Supervised,
    "released_imaml": ki.algorithms.ReleasedIMAML,
}
_INNER: dict[str, Callable] = {
    "gradient_descent": ki.inner.GradientDescent,
    "adam": ki.inner.Adam,
    "newton_cg": ki.inner.NewtonCG,
    "lbfgs": ki.inner.LBFGS,
}
_LINEAR: dict[str, Callable] = {
    "conjugate_gradient": ki.linear.ConjugateGradient,
    "dual": ki.linear.Dual,
    "neumann": ki.linear.Neumann,
    "nystrom": ki.linear.Nystrom,
}

CHOICES = {
    choice.name: choice
    for choice in (
        Choice(
            "data",
            _DATA,
            "Where tasks come from.",
            frozenset({"split", "seed", "start", "data_dir", "path", "class_labels"}),
        ),
        Choice(
            "model",
            _MODELS,
            "The network. Defaults to conv4 for classes, mlp for numbers.",
            frozenset({"input_shape", "outputs", "name"}),
            frozenset({"classes"}),
        ),
        Choice(
            "algorithm",
            _ALGORITHMS,
            "How the meta-gradient is computed; supervised: without adaptation in training, by "
            "labels that mean the same in every task.",
            frozenset({"inner", "linear"}),
        ),
        Choice("inner", _INNER, "The inner solver."),
        Choice("linear", _LINEAR, "Solver of the implicit system."),
        Choice(
            "wrapper",
            {"self_training": ki.SelfTraining},
            "An algorithm around the algorithm; self_training adapts to unlabeled queries, too.",
            frozenset({"algorithm"}),
            optional=True,
        ),
        Choice("outer", {"adam": outer.adam}, "The optimizer.", frozenset({"steps"})),
    )
}


def of_classes(data: str) -> bool:
    """Whether the tasks of a data set are of classes, not of numbers."""
    return CHOICES["data"].takes(data, "way")


def of_images(data: str) -> bool:
    """Whether a data set of this package has images; those of others may be anything."""
    return data in _DATA and of_classes(data)


def default_model(data: str) -> str:
    """The network of a data set if none is chosen."""
    return "conv4" if of_classes(data) else "mlp"


def has_linear(algorithm: str) -> bool:
    """Whether an algorithm solves a linear system."""
    return CHOICES["algorithm"].takes(algorithm, "linear")
