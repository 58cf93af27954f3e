"""The settings of a run, and of the machine that it is on, as plain objects."""

import dataclasses
from typing import Any

from trainers.components import CHOICES, Component, default_model, has_linear


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """What a run is: the choice of each component, with its arguments, and a few numbers.

    Every field that is no component has a flag of its name. Components may be given by their names.

    Args:
        data: Where tasks come from.
        model: The network. Defaults to `None`: Conv4 for classes, a perceptron for numbers.
        algorithm: How the meta-gradient is made.
        inner: How tasks are adapted to.
        linear: Solver of the implicit system, of algorithms that have one.
        wrapper: An algorithm around the algorithm, such as `"self_training"`.
        outer: The optimizer.
        data_dir: TFDS data_dir; of --data=folder the folder that holds train/, validation/ and
            test/, each with one folder of images a class.
        training_way: Classes of a training task of --algorithm=supervised; 0: as --data.way.
        distort: Turn, scale and move every training image at random: by 10 degrees, a tenth, a
            tenth. Images in colour are mirrored as well, and their colours are made stronger or
            weaker.
        tasks_per_step: Tasks of a meta-batch.
        tasks_per_chunk: Tasks that are computed at the same time, at most; 0: all of a meta-batch.
        views: Show the head the mean features of several views of an image: of photographs as they
            are and from nearer, and both mirrored; of drawings as they are and moved by a pixel to
            each corner. Any run of images can be evaluated so, with a --view_size of its
            --data.image_size.
        view_size: Pixels a side of the --views that the network sees of an image; 0: as many. Of
            larger images a closer view loses less.
        learned_loss: Adapt by a learned loss of the unlabelled support inputs (DAML).
        features: Folder of a run that is done: begin with the weights of its layers before the
            head.
        adapt: Names of layers or weights that adapt; empty: all.
        transductive: Normalise a query set by its own statistics, as the paper does.
        steps_per_epoch: Meta-steps an epoch.
        seed: Seed of weights and episodes.

    Example:

    ```python
    settings = Settings(
        data=component("glyphs", query=10),
        inner=component("gradient_descent", steps=8, learning_rate=0.3),
    )
    ```
    """

    data: Component | str = Component("glyphs")
    model: Component | str | None = None
    algorithm: Component | str = Component("imaml")
    inner: Component | str = Component("gradient_descent")
    linear: Component | str = Component("conjugate_gradient")
    wrapper: Component | str = Component("none")
    outer: Component | str = Component("adam")
    data_dir: str | None = None
    training_way: int = 0
    distort: bool = False
    tasks_per_step: int = 16
    tasks_per_chunk: int = 0
    views: bool = False
    view_size: int = 0
    learned_loss: bool = False
    features: str | None = None
    adapt: tuple[str, ...] = ()
    transductive: bool = False
    steps_per_epoch: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in CHOICES:
            chosen = getattr(self, name)
            if isinstance(chosen, str):
                object.__setattr__(self, name, Component(chosen))
        if self.model is None:
            object.__setattr__(self, "model", Component(default_model(self["data"])))
        object.__setattr__(self, "adapt", tuple(self.adapt))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash(tuple(self.values()))

    def __getitem__(self, name: str) -> Any:
        """A setting by the name of its flag: `settings["inner"]`, `settings["inner.steps"]`.

        An argument that is not set has its default; one that the component has not is None.
        """
        part, _, argument = name.partition(".")
        if part not in CHOICES:
            return getattr(self, name)
        chosen = self.component(part)
        if not argument:
            return chosen.name
        known = CHOICES[part].arguments(chosen.name)
        if argument not in known:
            return None
        default = None if known[argument].required else known[argument].default
        return chosen.arguments.get(argument, default)

    def component(self, name: str) -> Component:
        """What is chosen for a component."""
        chosen = getattr(self, name)
        assert isinstance(chosen, Component)
        return chosen

    def make(self, name: str, **given: Any) -> Any:
        """The object of a component, with what its constructor takes of `given`."""
        return CHOICES[name].make(self.component(name), **given)

    def values(self) -> dict[str, Any]:
        """All settings by the names of their flags, defaults included."""
        by_name: dict[str, Any] = {}
        for name, choice in CHOICES.items():
            if name == "linear" and not has_linear(self["algorithm"]):
                continue
            by_name[name] = self[name]
            for argument in choice.arguments(self[name]):
                by_name[f"{name}.{argument}"] = self[f"{name}.{argument}"]
        for plain in dataclasses.fields(self):
            if plain.name not in CHOICES:
                by_name[plain.name] = getattr(self, plain.name)
        return by_name

    def changes_from(self, other: "Settings") -> dict[str, Any]:
        """The values that differ from those of other settings, but for the place of the data.

        Of a component that is another one, only those that are not at their defaults.
        """
        values, base = self.values(), other.values()
        changed = {
            name: value
            for name, value in values.items()
            if name != "data_dir" and (name not in base or value != base[name])
        }
        for part in set(changed) & set(CHOICES):
            for name, argument in CHOICES[part].arguments(self[part]).items():
                if self[f"{part}.{name}"] == argument.default:
                    changed.pop(f"{part}.{name}", None)
        return changed


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run is computed on.

    Args:
        distribution: Over what the tasks of a meta-batch are spread: `none`, `mirrored`,
            `multi_worker` or `tpu`.
        devices: Devices of --distribution=mirrored; 0: all GPUs.
        workers: host:port of every process of --distribution=multi_worker, or TF_CONFIG is set.
        worker_index: Place of this process in --workers.
        deterministic: Let two runs be equal to the last bit.
        cores: Cores, each with tasks of its own; 0: all.
    """

    distribution: str = "none"
    devices: int = 0
    workers: tuple[str, ...] = ()
    worker_index: int = 0
    deterministic: bool = False
    cores: int = 0
