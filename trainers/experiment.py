"""From settings to data, network and learner."""

import dataclasses
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat import half_precision
from trainers.command_line import refuse
from trainers.components import CHOICES, has_linear, of_classes
from trainers.settings import Machine, Settings

# How --distort changes images in color; the defaults are for drawings.
_PHOTOGRAPHS: dict[str, Any] = {"mirror": True, "light": 0.3, "edges": "reflected"}
_IMAGES = 256  # at least so many, of whole tasks, give the statistics of model.fixed_statistics
_CHANNELS = {"glyphs": 1, "omniglot": 1, "mini_imagenet": 3, "cifar_fs": 3}
_CIFAR_SIZE = 32


def start(settings: Settings, machine: Machine | None) -> tf.distribute.Strategy:
    """Set up devices, threads and random numbers, before anything else runs.

    Without a machine, devices and threads stay as the process has them: a notebook has begun.
    """
    if machine is None:
        keras.utils.set_random_seed(settings.seed)
        return tf.distribute.get_strategy()
    ki.parallel_tasks(machine.cores or None)
    with ki._compat.quiet.without_noise():
        tf.config.list_physical_devices()
    if machine.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(settings.seed)
    return ki.strategy(
        machine.distribution, machine.devices or None, machine.workers, machine.worker_index
    )


def tasks(settings: Settings, split: str, start: int = 0) -> tf.data.Dataset:
    """Episodes, without a task axis.

    Those for training are distorted, and have a growing number of inner steps, if that is set.
    """
    drawn = _drawn(settings, split, start)
    classes = settings["model.classes"]
    if classes and split == "train" and drawn.classes != classes:
        refuse(f"--model.classes={classes}: expected {drawn.classes}, all classes to train on")
    if split != "train":
        return drawn
    if settings.distort:
        changes = {} if _are_drawings(drawn.element_spec[0][0].shape) else _PHOTOGRAPHS
        drawn = ki.data.distorted(drawn, **changes, seed=settings.seed, start=start)
    if settings.first_inner_steps:
        growth = settings.growth_steps * settings.tasks_per_step
        first, last = settings.first_inner_steps, settings["inner.steps"]
        drawn = ki.data.with_growing_steps(drawn, first, last, growth, start)
    return drawn


def _drawn(settings: Settings, split: str, start: int = 0) -> Any:
    data = settings.component("data")
    given: dict[str, Any] = {"split": split, "seed": settings.seed, "start": start}
    given |= {"data_dir": settings.data_dir, "path": settings.data_dir}
    if settings["algorithm"] == "supervised" and split == "train":
        given["class_labels"] = True
        if settings.training_way:
            data = dataclasses.replace(
                data, arguments={**data.arguments, "way": settings.training_way}
            )
    return CHOICES["data"].make(data, **given)


def batches(settings: Settings, episodes: tf.data.Dataset) -> tf.data.Dataset:
    """Meta-batches of `tasks_per_step` tasks."""
    return episodes.batch(settings.tasks_per_step, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def example_shape(settings: Settings) -> tuple[int, ...]:
    """The shape of one input; data sets of this package need not be loaded for it."""
    name = settings["data"]
    if name in _CHANNELS or name == "folder":
        size = settings["data.image_size"] or _CIFAR_SIZE
        return (size, size, _CHANNELS.get(name) or settings["data.channels"])
    if "." not in name:
        return (1,)
    (support, *_), _ = _drawn(settings, "validation").element_spec
    return tuple(support.shape[1:])


def learner(settings: Settings, steps: int = 1, way: int | None = None) -> ki.MetaLearner:
    """A compiled learner.

    Args:
        settings: Of the run.
        steps: Length of the outer schedule.
        way: Outputs of the network. Defaults to those of the settings.
    """
    shape = example_shape(settings)
    if is_regression(settings):
        model = settings.make("model", outputs=1, classes=1, input_shape=shape)
        loss: Any = "mse"
        metrics = None
    else:
        classes: Any = way or settings["model.classes"] or most_classes(settings)
        model = _network(settings, classes, shape)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    meta_learner = ki.MetaLearner(
        model,
        _algorithm(settings),
        adapt=list(settings.adapt) or None,
        transductive=settings.transductive,
        learned_loss=_learned_loss(model) if settings.learned_loss else None,
        tasks_per_chunk=settings.tasks_per_chunk or None,
    )
    optimizer = settings.make("outer", steps=steps)
    if optimizer.weight_decay:  # of kernels: biases, scales and step sizes are not to vanish
        flat = [v for v in meta_learner.trainable_variables if len(v.shape) < 2]
        optimizer.exclude_from_weight_decay(flat)
    meta_learner.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return meta_learner


def begin_with_features(settings: Settings, learner: ki.MetaLearner) -> None:
    """Give the network the layers before the head of the run `features`."""
    if settings.features:
        source = keras.models.load_model(os.path.join(settings.features, "learner.keras"))
        ki.copy_features(source.model, learner.model)
        if settings["model.fixed_statistics"]:
            _record_statistics(settings, learner)


def _record_statistics(settings: Settings, learner: ki.MetaLearner) -> None:
    """Let the network normalize by the first training images, as they are."""
    batches, count = [], 0
    for _, query in _drawn(settings, "train"):
        query_x, *_ = only_present(query)
        batches.append(query_x)
        count += len(query_x)
        if count >= _IMAGES:
            break
    ki.record_statistics(learner.model, tf.concat(batches, axis=0))


def restored(
    settings: Settings, of_run: Settings, run_dir: str, way: int | None
) -> tuple[ki.MetaLearner, ki.callbacks.Checkpoints]:
    """The learner of a run at its newest checkpoint, for tasks of `way` classes.

    Args:
        settings: How it is used.
        of_run: The settings of the run itself.
        run_dir: Its folder.
        way: Classes of a task; with a tied head, not only those of the run.

    Returns:
        The learner, and its `Checkpoints`.
    """
    classes = of_run["model.classes"]
    meta_learner = learner(settings, way=classes or most_classes(of_run))
    checkpoints = ki.callbacks.Checkpoints(meta_learner, os.path.join(run_dir, "checkpoints"))
    if checkpoints.newest() is None:
        refuse(f"--run_dir={run_dir} holds no checkpoint: train it first")
    checkpoints.restore()
    fixed = settings["model.fixed_statistics"]
    if not fixed and of_run["model.fixed_statistics"]:
        refuse("--nomodel.fixed_statistics: the run was trained with --model.fixed_statistics")
    what_is_seen = ("model.fixed_statistics", "data.image_size", "views", "view_size")
    if fixed and any(settings[name] != of_run[name] for name in what_is_seen):
        _record_statistics(settings, meta_learner)
    _check_learned(settings, of_run, meta_learner)
    if way is not None and way != most_classes(of_run) and not classes:
        if not settings["model.tied_head"]:
            refuse(
                f"--data.way={way}: the head of this run has {most_classes(of_run)} classes; runs "
                "with --model.tied_head can have others"
            )
        meta_learner = ki.with_classes(meta_learner, way)
    return meta_learner, checkpoints


def _check_learned(settings: Settings, of_run: Settings, learner: ki.MetaLearner) -> None:
    """Take numbers that differ from those of the run, but for what the run has learned."""
    rate = settings["inner.learning_rate"]
    per, learned = (settings[f"inner.learning_rate.{name}"] for name in ("per", "learned"))
    if rate != of_run["inner.learning_rate"] and (learned or (per and learned is None)):
        refuse("--inner.learning_rate cannot be another one: the run has learned it")
    name = "algorithm.proximal_strength"
    if has_linear(settings["algorithm"]) and settings[name] != of_run[name]:
        if settings[f"{name}.learned"]:
            refuse(f"--{name} cannot be another one: the run has learned it")
        learner.algorithm.proximal_strength.assign(settings[name])


def most_classes(settings: Settings) -> int | None:
    """The most classes of a task; None for tasks of numbers."""
    way = settings["data.way"]
    return max(way) if isinstance(way, tuple) else way


def only_present(part: Sequence[Any]) -> tuple[Any, Any]:
    """Inputs and targets of one set, without examples whose weight is 0."""
    x, y, *weights = part
    if not weights:
        return x, y
    present = weights[0] > 0
    return tf.nest.map_structure(lambda values: tf.boolean_mask(values, present), (x, y))


def is_regression(settings: Settings) -> bool:
    """Whether the tasks are of numbers, not of classes."""
    return not of_classes(settings["data"])


def _network(settings: Settings, classes: int, input_shape: tuple[int, ...]) -> keras.Model:
    size = settings.view_size or None  # of a view
    shape = (size, size, input_shape[-1]) if size else input_shape
    if "bfloat16" in str(settings["model.dtype"]):
        _say_if_emulated()
    network = settings.make("model", classes=classes, outputs=classes, input_shape=shape)
    if not settings.views:
        return network
    height, width, channels = input_shape
    views = ki.views_of_drawings if _are_drawings(input_shape) else ki.views_of_photographs
    return ki.seen_in_views(network, views(size), (height, width, channels))


def _say_if_emulated() -> None:
    """In one line, in place of the warning of the learner, which comes with a line of code."""
    message = half_precision.emulated("bfloat16")
    if message:
        print(f"Warning: {message}", file=sys.stderr, flush=True)
        warnings.filterwarnings("ignore", re.escape(message))


def _are_drawings(shape: Any) -> bool:
    """Whether images of this shape have one channel; those in color are photographs."""
    return shape[-1] == 1


def _learned_loss(model: keras.Model) -> ki.LearnedLoss:
    """A perceptron on the flat activations of the network."""
    layers = [layer for layer in model.layers[1:] if len(layer.output.shape) == 2]
    width = sum(layer.output.shape[-1] for layer in layers)
    network = ki.models.MLP(8, (width,), hidden=(32, 32), activation="tanh", name="learned_loss")
    return ki.LearnedLoss(network, [layer.name for layer in layers])


def _algorithm(settings: Settings) -> ki.algorithms.Algorithm:
    given = {"inner": settings.make("inner")}
    if has_linear(settings["algorithm"]):
        given["linear"] = settings.make("linear")
    algorithm = settings.make("algorithm", **given)
    return settings.make("wrapper", algorithm=algorithm) or algorithm
