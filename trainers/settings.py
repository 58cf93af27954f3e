"""The flags that the trainers share. TensorFlow stays unloaded."""

import os
from collections.abc import Callable
from typing import Any

from absl import flags

FLAGS = flags.FLAGS
DATASETS = (
    "glyphs",
    "sinusoid",
    "unlabelled_sinusoid",
    "omniglot",
    "mini_imagenet",
    "cifar_fs",
    "folder",
)
RUN_FLAGS: list[str] = []


def _run(define: Callable, name: str, *arguments: object, **settings: object) -> None:
    """Define a flag that belongs to a run: it is kept in the run folder's flags.txt."""
    define(name, *arguments, **settings)
    RUN_FLAGS.append(name)


def define_path(name: str, help_text: str, **settings: Any) -> None:
    """Define a flag for the path of a folder or file; `~` is the home folder."""
    flags.DEFINE(_Path(), name, None, help_text, serializer=flags.ArgumentSerializer(), **settings)


class _Path(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "string"


define_path("run_dir", "Folder of the run: checkpoints, logs, result.json.")
_run(flags.DEFINE_enum, "dataset", "glyphs", DATASETS, "Where tasks come from.")
_run(
    define_path,
    "data_dir",
    "TFDS data_dir; of --dataset=folder the folder that holds train/, validation/ and test/, each "
    "with one folder of images a class.",
)
_run(flags.DEFINE_integer, "way", 5, "Classes a task.", lower_bound=2)
_run(flags.DEFINE_integer, "shot", 1, "Support examples a class.", lower_bound=1)
_run(flags.DEFINE_integer, "query", 15, "Query examples a class.", lower_bound=1)
_run(
    flags.DEFINE_integer,
    "training_way",
    0,
    "Classes of a training task of --algorithm=supervised; 0: as --way.",
    lower_bound=0,
)
_run(
    flags.DEFINE_integer,
    "classes",
    0,
    "Outputs of the network of --algorithm=supervised: as many as training classes.",
    lower_bound=0,
)
_run(
    flags.DEFINE_integer,
    "image_size",
    0,
    "Pixels a side; 0: 28, of mini_imagenet 84. Images of cifar_fs have 32.",
)
_run(flags.DEFINE_integer, "channels", 1, "Channels of folder images.", lower_bound=1)
_run(
    flags.DEFINE_bool,
    "distort",
    False,
    "Turn, scale and move every training image at random: by 10 degrees, a tenth, a tenth. Images "
    "in color are mirrored as well, and their colors are made stronger or weaker.",
)
_run(flags.DEFINE_integer, "tasks_per_step", 16, "Tasks of a meta-batch.", lower_bound=1)
_run(
    flags.DEFINE_integer,
    "tasks_per_chunk",
    0,
    "Tasks that are computed at the same time, at most; 0: all of a meta-batch.",
    lower_bound=0,
)
_run(flags.DEFINE_integer, "steps_per_epoch", 100, "Meta-steps an epoch.", lower_bound=1)
_run(
    flags.DEFINE_enum,
    "algorithm",
    "imaml",
    ["imaml", "maml", "fomaml", "reptile", "released_imaml", "supervised"],
    "How the meta-gradient is made; supervised: without adaptation in training, by labels that "
    "mean the same in every task.",
)
_run(
    flags.DEFINE_enum,
    "inner_solver",
    "gradient_descent",
    ["gradient_descent", "nesterov", "adam", "newton_cg", "lbfgs"],
    "How tasks are adapted to.",
)
_run(flags.DEFINE_integer, "inner_steps", 16, "Inner iterations.", lower_bound=1)
_run(
    flags.DEFINE_integer,
    "inner_linear_steps",
    5,
    "Conjugate gradient steps of an inner step (--inner_solver=newton_cg).",
    lower_bound=1,
)
_run(flags.DEFINE_float, "inner_learning_rate", 0.1, "Step size of the inner solver.")
_run(flags.DEFINE_float, "inner_momentum", 0.9, "Momentum of --inner_solver=nesterov.")
_run(
    flags.DEFINE_bool,
    "strongly_convex_momentum",
    False,
    "Take that momentum from --proximal_strength and --inner_learning_rate.",
)
_run(
    flags.DEFINE_enum,
    "learn_inner_rate",
    "none",
    ["none", "model", "layer", "weight"],
    "Meta-learn one step size per (--algorithm=maml; weight: Meta-SGD).",
)
_run(flags.DEFINE_bool, "recompute", False, "Compute inner steps twice, to save memory (maml).")
_run(
    flags.DEFINE_bool,
    "learned_loss",
    False,
    "Adapt by a learned loss of the unlabelled support inputs (DAML).",
)
_run(flags.DEFINE_float, "proximal_strength", 2.0, "lambda of the proximal term.")
_run(flags.DEFINE_enum, "proximal_per", "model", ["model", "layer", "weight"], "One lambda per.")
_run(flags.DEFINE_bool, "learn_proximal_strength", False, "Meta-learn lambda.")
_run(
    flags.DEFINE_enum,
    "curvature",
    "gauss_newton",
    ["gauss_newton", "hessian"],
    "Curvature of the implicit system.",
)
_run(
    flags.DEFINE_enum,
    "linear_solver",
    "conjugate_gradient",
    ["conjugate_gradient", "neumann", "nystrom", "dual"],
    "Solver of the implicit system.",
)
_run(
    flags.DEFINE_integer,
    "linear_steps",
    5,
    "Steps (nystrom: rank) of the linear solver.",
    lower_bound=1,
)
_run(
    flags.DEFINE_enum,
    "linear_start",
    "zero",
    ["zero", "first_order"],
    "Where --linear_solver=conjugate_gradient starts.",
)
_run(
    flags.DEFINE_integer,
    "self_training",
    0,
    "Adapt to the unlabelled queries of a task, too: how often the network guesses their classes "
    "(8 is good); 0: not at all. Any run of images by imaml, maml or fomaml can be evaluated so.",
    lower_bound=0,
)
_run(
    flags.DEFINE_float,
    "guess_temperature",
    0.5,
    "What logits are divided by for the guesses of --self_training; lower is firmer.",
)
_run(
    flags.DEFINE_bool,
    "balanced_queries",
    False,
    "Let --self_training guess as many queries for each class, which is so in every benchmark.",
)
_run(flags.DEFINE_float, "outer_learning_rate", 1e-3, "Learning rate of the outer Adam.")
_run(flags.DEFINE_float, "outer_epsilon", 1e-7, "Epsilon of the outer Adam.", lower_bound=0.0)
_run(
    flags.DEFINE_float,
    "outer_clip_norm",
    0.0,
    "Largest norm of a meta-gradient; 0: any.",
    lower_bound=0.0,
)
_run(
    flags.DEFINE_float,
    "outer_weight_decay",
    0.0,
    "Share of the kernels that a meta-step takes off, times the learning rate (AdamW).",
    lower_bound=0.0,
)
_run(
    flags.DEFINE_enum,
    "outer_schedule",
    "constant",
    ["constant", "cosine"],
    "Outer learning rate over the run.",
)
_run(flags.DEFINE_list, "adapt", [], "Names of layers or weights that adapt; empty: all.")
_run(
    flags.DEFINE_bool,
    "transductive",
    False,
    "Normalize a query set by its own statistics, as the paper does.",
)
_run(
    flags.DEFINE_enum,
    "statistics",
    "task",
    ["task", "training"],
    "Of what layers normalize by: the examples of a task, or training images, the same for all "
    "tasks (for a run with --features, or to evaluate any run of images: then --transductive "
    "makes no difference but to --centered). For --adapt=head: where all weights adapt, inner "
    "steps diverge without statistics of their own.",
)
_run(flags.DEFINE_enum, "model", "conv4", ["conv4", "resnet12"], "The network of images.")
_run(
    flags.DEFINE_integer,
    "filters",
    64,
    "Features of Conv4, or of the first stage of ResNet12 (the others: 2.5, 5 and 10 times).",
    lower_bound=1,
)
_run(
    flags.DEFINE_enum,
    "downsample",
    "stride",
    ["stride", "average", "max"],
    "How the network halves images; stride is for conv4.",
)
_run(
    define_path,
    "features",
    "Folder of a run that is done: begin with the weights of its layers before the head.",
)
_run(
    flags.DEFINE_bool,
    "tied_head",
    False,
    "Meta-learn the same head for every class; evaluate at any --way.",
)
_run(
    flags.DEFINE_bool,
    "cosine",
    False,
    "Show the head the direction of an image's features alone, not their length.",
)
_run(
    flags.DEFINE_bool,
    "centered",
    False,
    "Show the head how an image's features differ from their mean over the support set, or over "
    "the query set: with --transductive, for the mean of a few images says little.",
)
_run(
    flags.DEFINE_bool,
    "views",
    False,
    "Show the head the mean features of several views of an image: of photographs as they are and "
    "from nearer, and both mirrored; of drawings as they are and moved by a pixel to each corner. "
    "Any run of images can be evaluated so, with a --view_size of its --image_size.",
)
_run(
    flags.DEFINE_integer,
    "view_size",
    0,
    "Pixels a side of the --views that the network sees of an image of --image_size; 0: as many. "
    "Of larger images a closer view loses less.",
)
_run(
    flags.DEFINE_bool,
    "mixed_precision",
    False,
    "Compute all layers before the head in bfloat16: about twice as fast where the processor has "
    "instructions for it. For --adapt=head, so that what adapts stays float32.",
)
_run(flags.DEFINE_integer, "seed", 0, "Seed of weights and episodes.", lower_bound=0)
flags.DEFINE_enum(
    "distribution",
    "none",
    ["none", "mirrored", "multi_worker", "tpu"],
    "Over what the tasks of a meta-batch are spread.",
)
flags.DEFINE_integer(
    "devices", 0, "Devices of --distribution=mirrored; 0: all GPUs.", lower_bound=0
)
flags.DEFINE_list(
    "workers", [], "host:port of every process of --distribution=multi_worker, or TF_CONFIG is set."
)
flags.DEFINE_integer("worker_index", 0, "Place of this process in --workers.", lower_bound=0)
flags.DEFINE_bool("deterministic", False, "Let two runs be equal to the last bit.")
flags.DEFINE_integer("cores", 0, "Cores, each with tasks of its own; 0: all.", lower_bound=0)
flags.DEFINE_bool("debug", False, "Show the whole traceback of an error.")
