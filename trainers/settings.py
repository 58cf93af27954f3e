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
        algorithm: How the meta-gradient is computed.
        inner: The inner solver.
        linear: Solver of the implicit system, of algorithms that have one.
        wrapper: An algorithm around the algorithm, such as `"self_training"`.
        outer: The optimizer.
        data_dir: TFDS data_dir; of --data=folder the folder that holds train/, validation/ and
            test/, each with one folder of images per class.
        training_way: Classes of a training task of --algorithm=supervised; 0: as --data.way.
        distort: Rotate, scale and shift every training image at random, by up to 10 degrees and a
            tenth of its size. Color images are mirrored as well, and their colors vary.
        tasks_per_step: Tasks of a meta-batch.
        tasks_per_chunk: Tasks that are computed at the same time, at most; 0: all of a meta-batch.
        views: Give the head the mean features of several views of an image. Views of a photograph
            are the image and its middle, each also mirrored; those of a drawing are the image and
            four copies, each shifted by a pixel toward a corner. Any run of images can be evaluated
            in this way, with --view_size at its --data.image_size.
        view_size: Height and width of the --views in pixels; 0: those of the image. Larger images
            lose less detail in the view of their middle.
        learned_loss: Adapt by a learned loss of the unlabeled support inputs (DAML).
        features: Folder of a finished run: start from the weights of its layers before the head.
        adapt: Names of layers or weights that adapt; empty: all.
        first_inner_steps: Inner steps of the first task of training. The number grows linearly to
            --inner.steps; 0: it is the same for all tasks.
        growth_steps: Meta-steps until the inner steps of --first_inner_steps have grown.
        transductive: Normalize a query set by its own statistics, as the paper does.
        steps_per_epoch: Meta-steps per epoch.
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
    first_inner_steps: int = 0
    growth_steps: int = 1000
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
