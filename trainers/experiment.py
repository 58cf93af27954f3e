"""From flags to data, network and learner."""

import os
import re
import sys
import warnings
from typing import Any

import keras
import tensorflow as tf
from absl import flags

import keras_imaml as ki
from keras_imaml._compat import half_precision
from trainers.command_line import refuse

FLAGS = flags.FLAGS

# How --distort changes images in color; the defaults are for drawings.
_PHOTOGRAPHS: dict[str, Any] = {"mirror": True, "light": 0.3, "edges": "reflected"}
_IMAGES = 256  # at least so many, of whole tasks, give the statistics of --statistics=training


def start() -> tf.distribute.Strategy:
    """Set up devices, threads and random numbers as the flags say, before anything else runs."""
    ki.parallel_tasks(FLAGS.cores or None)
    with ki._compat.quiet.without_noise():
        tf.config.list_physical_devices()
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(FLAGS.seed)
    return ki.strategy(FLAGS.distribution, FLAGS.devices or None, FLAGS.workers, FLAGS.worker_index)


def tasks(split: str, start: int = 0) -> tf.data.Dataset:
    """Episodes of `--dataset`, without a task axis; with --distort those for training distorted."""
    drawn = _drawn(split, start)
    if FLAGS.classes and split == "train" and drawn.classes != FLAGS.classes:
        refuse(f"--classes={FLAGS.classes}: expected {drawn.classes}, all classes to train on")
    if FLAGS.distort and split == "train":
        settings = {} if _are_drawings(drawn.element_spec[0][0].shape) else _PHOTOGRAPHS
        return ki.data.distorted(drawn, **settings, seed=FLAGS.seed, start=start)
    return drawn


def _drawn(split: str, start: int = 0) -> Any:
    sizes: dict[str, Any] = {
        "shot": FLAGS.shot,
        "query": FLAGS.query,
        "seed": FLAGS.seed,
        "start": start,
    }
    if FLAGS.dataset in ("sinusoid", "unlabelled_sinusoid"):
        return getattr(ki.data, FLAGS.dataset)(split, **sizes)
    sizes["way"] = FLAGS.way
    if FLAGS.algorithm == "supervised" and split == "train":
        sizes |= {"way": FLAGS.training_way or FLAGS.way, "class_labels": True}
    if FLAGS.image_size and FLAGS.dataset != "cifar_fs":
        sizes["image_size"] = FLAGS.image_size
    if FLAGS.dataset == "glyphs":
        return ki.data.glyphs(split, **sizes)
    if FLAGS.dataset == "folder":
        sizes = {"image_size": 28, "channels": FLAGS.channels, **sizes}
        return ki.data.from_folder(FLAGS.data_dir, split, **sizes)
    return getattr(ki.data, FLAGS.dataset)(split, data_dir=FLAGS.data_dir, **sizes)


def batches(episodes: tf.data.Dataset) -> tf.data.Dataset:
    """Meta-batches of `--tasks_per_step` tasks."""
    return episodes.batch(FLAGS.tasks_per_step, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def learner(episodes: tf.data.Dataset, steps: int = 1, way: int | None = None) -> ki.MetaLearner:
    """A compiled learner for tasks like those of `episodes`, with an outer schedule of `steps`."""
    (support, _), _ = episodes.element_spec
    if is_regression():
        model = ki.models.MLP(1, input_shape=(1,))
        loss: Any = "mse"
        metrics = None
    else:
        model = _network(way or FLAGS.classes or FLAGS.way, tuple(support.shape[1:]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    made = ki.MetaLearner(
        model,
        _algorithm(),
        adapt=FLAGS.adapt or None,
        transductive=FLAGS.transductive,
        learned_loss=_learned_loss(model) if FLAGS.learned_loss else None,
        tasks_per_chunk=FLAGS.tasks_per_chunk or None,
    )
    rate = FLAGS.outer_learning_rate
    if FLAGS.outer_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=max(steps, 1))
    optimizer = keras.optimizers.Adam(
        rate,
        epsilon=FLAGS.outer_epsilon,
        global_clipnorm=FLAGS.outer_clip_norm or None,
        weight_decay=FLAGS.outer_weight_decay or None,
    )
    if optimizer.weight_decay:  # of kernels: biases, scales and step sizes are not to vanish
        flat = [v for v in made.trainable_variables if len(v.shape) < 2]
        optimizer.exclude_from_weight_decay(flat)
    made.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return made


def begin_with_features(learner: ki.MetaLearner) -> None:
    """Give the network the layers before the head of the run `--features`."""
    if FLAGS.features:
        other = keras.models.load_model(os.path.join(FLAGS.features, "learner.keras"))
        ki.copy_features(other.model, learner.model)
        if FLAGS.statistics == "training":
            _record_statistics(learner)


def _record_statistics(learner: ki.MetaLearner) -> None:
    """Let the network normalize by the first training images, as they are."""
    batches, count = [], 0
    for _, (query_x, _) in _drawn("train"):
        batches.append(query_x)
        count += len(query_x)
        if count >= _IMAGES:
            break
    ki.record_statistics(learner.model, tf.concat(batches, axis=0))


def restored(
    episodes: tf.data.Dataset, of_run: dict[str, Any], way: int
) -> tuple[ki.MetaLearner, ki.callbacks.Checkpoints]:
    """The learner of `--run_dir` at its newest checkpoint, for tasks of `way` classes.

    Args:
        episodes: Tasks whose inputs are like those of the run.
        of_run: The settings of the run itself.
        way: Classes of a task; with --tied_head, not only those of the run.

    Returns:
        The learner, and its `Checkpoints`.
    """
    made = learner(episodes, way=of_run["classes"] or of_run["way"])
    checkpoints = ki.callbacks.Checkpoints(made, os.path.join(FLAGS.run_dir, "checkpoints"))
    if checkpoints.newest() is None:
        refuse(f"--run_dir={FLAGS.run_dir} holds no checkpoint: train it first")
    checkpoints.restore()
    if FLAGS.statistics == "task" and of_run["statistics"] != "task":
        refuse("--statistics=task: the run was trained with --statistics=training")
    what_is_seen = ("statistics", "image_size", "views", "view_size")
    if FLAGS.statistics == "training" and any(FLAGS[x].value != of_run[x] for x in what_is_seen):
        _record_statistics(made)
    rate_changed = FLAGS.inner_learning_rate != of_run["inner_learning_rate"]
    if rate_changed and FLAGS.learn_inner_rate != "none":
        refuse("--inner_learning_rate cannot be another one: the run has learned it")
    proximal = FLAGS.algorithm in ("imaml", "released_imaml")
    if proximal and FLAGS.proximal_strength != of_run["proximal_strength"]:
        if FLAGS.learn_proximal_strength:
            refuse("--proximal_strength cannot be another one: the run has learned it")
        made.algorithm.proximal_strength.assign(FLAGS.proximal_strength)
    if way != of_run["way"] and not of_run["classes"]:
        if not FLAGS.tied_head:
            refuse(
                f"--way={way}: the head of this run has {of_run['way']} classes; runs with "
                "--tied_head can have others"
            )
        made = ki.with_classes(made, way)
    return made, checkpoints


def is_regression() -> bool:
    """Whether the tasks are of numbers, not of classes."""
    return FLAGS.dataset in ("sinusoid", "unlabelled_sinusoid")


def _network(classes: int, input_shape: tuple[int, int, int]) -> keras.Model:
    options: dict[str, Any] = {
        "downsample": FLAGS.downsample,
        "tied_head": FLAGS.tied_head,
        "cosine": FLAGS.cosine,
        "centered": FLAGS.centered,
        "fixed_statistics": FLAGS.statistics == "training",
    }
    if FLAGS.mixed_precision:
        options["dtype"] = "mixed_bfloat16"
        _say_if_emulated()
    size = FLAGS.view_size or None  # of a view
    shape = (size, size, input_shape[-1]) if size else input_shape
    if FLAGS.model == "conv4":
        network = ki.models.Conv4(classes, shape, FLAGS.filters, **options)
    else:
        filters = [round(FLAGS.filters * wider) for wider in (1, 2.5, 5, 10)]
        network = ki.models.ResNet12(classes, shape, filters, **options)
    if not FLAGS.views:
        return network
    views = ki.views_of_drawings if _are_drawings(input_shape) else ki.views_of_photographs
    return ki.seen_in_views(network, views(size), input_shape)


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
    seen = [layer for layer in model.layers[1:] if len(layer.output.shape) == 2]
    width = sum(layer.output.shape[-1] for layer in seen)
    network = ki.models.MLP(8, (width,), hidden=(32, 32), activation="tanh", name="learned_loss")
    return ki.LearnedLoss(network, [layer.name for layer in seen])


def _algorithm() -> ki.algorithms.Algorithm:
    if FLAGS.self_training:
        return ki.SelfTraining(
            _adapting_to_support(),
            FLAGS.self_training,
            FLAGS.guess_temperature,
            FLAGS.balanced_queries,
        )
    return _adapting_to_support()


def _adapting_to_support() -> ki.algorithms.Algorithm:
    if FLAGS.algorithm == "reptile":
        return ki.Reptile(_inner())
    if FLAGS.algorithm in ("maml", "fomaml"):
        return ki.MAML(_inner(), first_order=FLAGS.algorithm == "fomaml", recompute=FLAGS.recompute)
    if FLAGS.algorithm == "supervised":
        return ki.algorithms.Supervised(_inner())
    if FLAGS.algorithm == "released_imaml":
        return ki.algorithms.ReleasedIMAML(FLAGS.proximal_strength, _inner(), _linear())
    strength = ki.ProximalStrength(
        FLAGS.proximal_strength, per=FLAGS.proximal_per, learned=FLAGS.learn_proximal_strength
    )
    return ki.IMAML(strength, _inner(), _linear(), FLAGS.curvature)


def _inner() -> Any:
    steps, rate = FLAGS.inner_steps, FLAGS.inner_learning_rate
    if FLAGS.learn_inner_rate != "none":
        rate = ki.LearningRate(rate, per=FLAGS.learn_inner_rate)
    if FLAGS.inner_solver == "adam":
        return ki.inner.Adam(steps, rate)
    if FLAGS.inner_solver == "newton_cg":
        return ki.inner.NewtonCG(steps, FLAGS.inner_linear_steps, curvature=FLAGS.curvature)
    if FLAGS.inner_solver == "lbfgs":
        return ki.inner.LBFGS(steps, first_step=rate)
    if FLAGS.inner_solver == "nesterov":
        convex = FLAGS.strongly_convex_momentum
        momentum = "strongly_convex" if convex else FLAGS.inner_momentum
        return ki.inner.GradientDescent(steps, rate, momentum, nesterov=True)
    return ki.inner.GradientDescent(steps, rate)


def _linear() -> Any:
    steps = FLAGS.linear_steps
    return {
        "conjugate_gradient": ki.linear.ConjugateGradient(
            max_steps=steps, start=FLAGS.linear_start
        ),
        "neumann": ki.linear.Neumann(max_steps=steps),
        "nystrom": ki.linear.Nystrom(rank=steps),
        "dual": ki.linear.Dual(),
    }[FLAGS.linear_solver]
