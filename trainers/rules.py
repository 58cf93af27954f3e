"""What constructors cannot refuse: files, machines, and components that do not go together."""

import os

from trainers.arguments import as_text
from trainers.command_line import refuse
from trainers.components import has_linear, of_classes, of_images
from trainers.settings import Machine, Settings

_CURVATURES = {"released_imaml": "hessian"}  # of algorithms that cannot have another one


def check(settings: Settings, machine: Machine) -> None:
    """Refuse settings before any data is read or network is made."""
    _check_machine(machine)
    _check_files(settings)
    _check_numbers(settings)
    _check_components(settings)


def _check_machine(machine: Machine) -> None:
    cores = os.cpu_count() or 1
    if not 0 <= machine.cores <= cores:
        refuse(f"--cores must not be above {cores}, which this machine has, nor below 0")
    if machine.devices < 0 or machine.worker_index < 0:
        refuse("--devices and --worker_index must not be below 0")


def _check_files(settings: Settings) -> None:
    if settings.data_dir is not None and not os.path.isdir(settings.data_dir):
        refuse(f"--data_dir={settings.data_dir} must be an existing folder")
    if settings["data"] == "folder" and not settings.data_dir:
        refuse("--data=folder needs --data_dir")


def _check_numbers(settings: Settings) -> None:
    """Before images are loaded for nothing."""
    lowest = {
        **{"data.way": 2, "data.shot": 1, "data.query": 1},
        **{"tasks_per_step": 1, "steps_per_epoch": 1, "growth_steps": 1},
        **dict.fromkeys(
            ("tasks_per_chunk", "training_way", "seed", "view_size", "first_inner_steps"), 0
        ),
    }
    for name, least in lowest.items():
        value = settings[name]
        if value is not None and (min(value) if isinstance(value, tuple) else value) < least:
            refuse(f"--{name}={as_text(value)}: expected {least} or more")
    for name in ("view_size", "data.image_size"):
        if 0 < (settings[name] or 0) < 8:
            refuse(f"--{name}={settings[name]}: expected 8 or more")


def _check_components(settings: Settings) -> None:
    images = of_images(settings["data"]) or settings["data"].count(".")
    if (settings.distort or settings.views) and not images:
        refuse(f"--distort and --views are for images: not for --data={settings['data']}")
    if settings.view_size and not settings.views:
        refuse("--view_size is for --views")
    if settings.learned_loss and settings.views:
        refuse("--learned_loss reads the activations of one view: not with --views")
    if settings["data"] == "unlabelled_sinusoid" and not settings.learned_loss:
        refuse("--data=unlabelled_sinusoid needs --learned_loss")
    early, inner_steps = settings.first_inner_steps, settings["inner.steps"]
    if early and settings["algorithm"] == "supervised":
        refuse("--first_inner_steps is for algorithms that adapt: not for --algorithm=supervised")
    if early and (inner_steps is None or early > inner_steps):
        refuse(f"--first_inner_steps={early}: expected at most --inner.steps={inner_steps}")
    exact = "hessian" in (settings["algorithm.curvature"], _CURVATURES.get(settings["algorithm"]))
    if settings["linear"] == "dual" and has_linear(settings["algorithm"]) and exact:
        refuse("--linear=dual needs --algorithm.curvature=gauss_newton")
    if settings["model.dtype"] == "mixed_float16" and settings.adapt != ("head",):
        refuse(
            "--model.dtype=mixed_float16 is for --adapt=head: small gradients of the inner level "
            "would be zero. mixed_bfloat16 has their range"
        )
    classes = settings["model.classes"]
    way = settings["data.way"]
    if isinstance(way, tuple) and way[0] != way[-1] and not settings["model.tied_head"]:
        refuse(
            f"--data.way={as_text(way)} needs --model.tied_head: any other head would predict "
            "classes that a task does not have"
        )
    if settings["algorithm"] != "supervised":
        if classes or settings.training_way:
            refuse("--model.classes and --training_way are for --algorithm=supervised")
    elif not of_classes(settings["data"]) or (classes or 0) < 2 or settings.training_way == 1:
        refuse(
            "--algorithm=supervised needs --model.classes, the number of all training classes, and "
            "--training_way, if given, to be 2 or more"
        )
    elif settings["model.tied_head"]:
        refuse("--algorithm=supervised has an output for each class: not with --model.tied_head")
