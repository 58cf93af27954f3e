"""Every argument of every component has a flag, and every component is made from its flags."""

import dataclasses
import inspect
import sys
import types

import keras
import pytest

import keras_imaml as ki
from trainers import experiment, outer, parsing, train
from trainers.arguments import arguments_of, as_text
from trainers.components import CHOICES, component
from trainers.settings import Machine, Settings

OPTIONS = [(part, option) for part, choice in CHOICES.items() for option in choice.options]
# What one needs beside its defaults to be made.
NEEDS = {"maml": ["--inner.steps=5"], "mlp": ["--data=sinusoid"]}


def settings_of(*flags):
    return parsing.parse(train.PROGRAM, ["--run_dir=x", *flags]).settings


@pytest.mark.parametrize(("part", "option"), OPTIONS)
def test_every_argument_has_a_flag(part, option):
    choice = CHOICES[part]
    parameters = inspect.signature(choice.options[option]).parameters.values()
    known = {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert set(choice.arguments(option)) >= known - choice.hidden


@pytest.mark.parametrize("package", [ki.inner, ki.linear, ki.models], ids=lambda p: p.__name__)
def test_every_constructor_of_the_package_is_an_option(package):
    (choice,) = (c for c in CHOICES.values() if package.__name__ in _module(c))
    protocols = {"InnerSolver", "LinearSolver", "InnerSolution", "LinearSolution", "Status"}
    protocols |= {"Configurable", "InnerProblem"}
    public = {name for name in vars(package) if name[0].isupper()} - protocols
    options = {factory.__name__ for factory in choice.options.values()}
    assert {name for name in public if callable(getattr(package, name))} == options


def _module(choice):
    return next(iter(choice.options.values())).__module__


@pytest.mark.parametrize(("part", "option"), OPTIONS)
def test_the_defaults_as_flags_are_the_defaults(part, option, tmp_path):
    """Written out, each value parses to itself, and the constructor takes it."""
    required_flags = [f"--data_dir={tmp_path}", *NEEDS.get(option, [])]
    required_flags += ["--learned_loss"] * (option == "unlabelled_sinusoid")
    required_flags += ["--model.classes=3"] * (option == "supervised")
    plain = settings_of(f"--{part}={option}", *required_flags)
    arguments = CHOICES[part].arguments(option)
    values = {f"{part}.{name}": a.default for name, a in arguments.items() if not a.required}
    given = [f"--{name}={as_text(value)}" for name, value in values.items() if value is not None]
    written = settings_of(f"--{part}={option}", *given, *required_flags)
    assert written == plain
    for name, argument in arguments.items():
        if not argument.required:
            assert written[f"{part}.{name}"] == argument.default
    if part == "data":
        return  # which is read
    algorithm = ki.MAML() if part == "wrapper" else None
    instance = written.make(
        part, algorithm=algorithm, classes=2, outputs=1, input_shape=(16, 16, 1)
    )
    if dataclasses.is_dataclass(instance):
        assert instance == CHOICES[part].options[option]()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--inner=newton_cg", "--inner.steps=3", "--inner.warm_start"],
            ki.inner.NewtonCG(steps=3, warm_start=True),
        ),
        (
            ["--inner.momentum=strongly_convex", "--inner.learning_rate=0.1"],
            ki.inner.GradientDescent(learning_rate=0.1, momentum="strongly_convex"),
        ),
        (["--inner.learning_rate=auto"], ki.inner.GradientDescent()),
        (
            ["--inner.momentum", "0.5", "--inner.learning_rate=0.2"],
            ki.inner.GradientDescent(learning_rate=0.2, momentum=0.5),
        ),
        (["--linear=neumann", "--linear.scale=3"], ki.linear.Neumann(scale=3.0)),
        (["--linear=neumann", "--linear.scale=none"], ki.linear.Neumann()),
    ],
)
def test_a_solver_is_what_its_flags_say(flags, expected):
    part = flags[-1].partition(".")[0].lstrip("-") if "momentum" not in flags[0] else "inner"
    assert settings_of(*flags).make(part) == expected


def test_an_object_that_is_an_argument_is_made_of_flags():
    chosen = settings_of(
        "--algorithm.proximal_strength=0.5", "--algorithm.proximal_strength.per=layer"
    )
    strength = chosen.make("algorithm").proximal_strength
    assert (strength.initial, strength.per, strength.learned) == (0.5, "layer", False)
    rate = settings_of("--algorithm=maml", "--inner.learning_rate.per=weight").make("inner")
    assert (rate.learning_rate.per, rate.learning_rate.learned) == ("weight", True)
    assert settings_of("--algorithm=maml").make("inner").learning_rate == "auto"


def test_sequences_and_names_are_made_of_flags():
    assert settings_of("--data=sinusoid", "--data.phase=0,1")["data.phase"] == (0.0, 1.0)
    assert settings_of("--data=sinusoid", "--model.hidden=3")["model.hidden"] == (3,)
    assert settings_of("--adapt=head,norm_1").adapt == ("head", "norm_1")
    assert settings_of("--notransductive").transductive is False


@dataclasses.dataclass(frozen=True)
class Solver:
    """A solver of one's own.

    Args:
        length: Of a step.
        loud: Whether it says so.
    """

    length: float
    loud: bool = False

    def minimize(self, problem, start=None):
        raise NotImplementedError


@pytest.fixture
def own_module(monkeypatch):
    module = types.ModuleType("package_of_mine")
    module.Solver = Solver
    monkeypatch.setitem(sys.modules, "package_of_mine", module)


def test_a_component_may_be_of_a_user_module(own_module):
    chosen = settings_of("--inner=package_of_mine.Solver", "--inner.length=2")
    assert chosen.make("inner") == Solver(2.0)
    assert chosen.make("algorithm", inner=chosen.make("inner")).inner == Solver(2.0)
    assert "--inner.length=2.0" in _flags_of(chosen)
    negative = settings_of("--inner=package_of_mine.Solver", "--inner.length", "-2", "--inner.loud")
    assert negative.make("inner") == Solver(-2.0, loud=True)
    with pytest.raises(ValueError, match="`length` is missing, which Solver needs"):
        settings_of("--inner=package_of_mine.Solver").make("inner")
    with pytest.raises(ValueError, match="did you mean --inner.length"):
        settings_of("--inner=package_of_mine.Solver", "--inner.lenght=2")
    settings_of_code = Settings(inner=component(Solver, length=2.0))
    assert settings_of_code.make("inner") == Solver(2.0)


def _flags_of(chosen):
    from trainers import run_folder

    return run_folder.as_flags(chosen).splitlines()


def test_an_argument_that_a_component_has_not_is_refused():
    with pytest.raises(ValueError, match="inner 'adam' has no arguments"):
        Settings(inner=component("adam", momentum=0.5)).make("inner")


def test_a_learner_is_what_the_settings_say():
    chosen = settings_of(
        *("--data=sinusoid", "--model.hidden=2", "--inner=adam", "--inner.steps=3"),
        *("--algorithm.curvature=hessian", "--linear.max_steps=2", "--outer.clip_norm=1"),
    )
    learner = experiment.learner(chosen)
    assert learner.algorithm.inner == ki.inner.Adam(steps=3)
    assert learner.algorithm.linear == ki.linear.ConjugateGradient(max_steps=2)
    assert learner.algorithm.curvature == "hessian"
    assert learner.optimizer.global_clipnorm == 1
    assert learner.model.get_layer("hidden_1").units == 2


def test_the_outer_rate_falls_to_zero():
    rate = outer.adam(0.5, schedule="cosine", steps=10).get_config()["learning_rate"]
    schedule = keras.saving.deserialize_keras_object(rate)
    assert float(schedule(0)) == 0.5
    assert float(schedule(10)) == pytest.approx(0, abs=1e-7)


def test_every_field_has_help():
    for kind in (Settings, Machine):
        for name, argument in arguments_of(kind).items():
            assert argument.help, name


def test_annotations_that_cannot_be_read_are_no_obstacle():
    def factory(steps: "NotThere" = 3, rate=0.5, optional=None):  # noqa: F821
        return steps, rate, optional

    assert arguments_of(factory)["rate"].parse("2") == 2.0
    assert arguments_of(factory)["optional"].parse("none") is None
