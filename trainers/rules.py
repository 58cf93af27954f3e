"""Which of the shared flags go together. TensorFlow stays unloaded."""

import os

from absl import flags

from trainers import settings  # noqa: F401  (defines them)

for _name in (
    "inner_learning_rate",
    "proximal_strength",
    "guess_temperature",
    "outer_learning_rate",
):
    flags.register_validator(_name, lambda value: value > 0, f"--{_name} must be above 0")
flags.register_validator(
    "inner_momentum", lambda value: 0 < value < 1, "--inner_momentum must be between 0 and 1"
)
for _name in ("image_size", "view_size"):
    flags.register_validator(
        _name, lambda value: value == 0 or value >= 8, f"--{_name} must be 0, or 8 or more"
    )
flags.register_validator(
    "cores",
    lambda value: value <= (os.cpu_count() or 1),
    f"--cores must not be above {os.cpu_count() or 1}, which this machine has",
)


@flags.multi_flags_validator(
    ["dataset", "image_size"], "--image_size is for images, and those of cifar_fs have 32 pixels"
)
def _has_size(values: dict) -> bool:
    size, dataset = values["image_size"], values["dataset"]
    return size == 0 or not ("sinusoid" in dataset or (dataset == "cifar_fs" and size != 32))


@flags.multi_flags_validator(["dataset", "data_dir"], "--dataset=folder needs --data_dir")
def _has_data(values: dict) -> bool:
    return bool(values["data_dir"]) or values["dataset"] != "folder"


@flags.multi_flags_validator(["data_dir"], "--data_dir must be an existing folder")
def _data_exists(values: dict) -> bool:
    return values["data_dir"] is None or os.path.isdir(values["data_dir"])


@flags.multi_flags_validator(
    ["model", "downsample"], "--model=resnet12 needs --downsample=max or average"
)
def _is_pooled(values: dict) -> bool:
    return values["model"] == "conv4" or values["downsample"] != "stride"


@flags.multi_flags_validator(
    ["model", "dataset"], "--model=resnet12 needs images, which sinusoids are not"
)
def _has_images(values: dict) -> bool:
    return values["model"] == "conv4" or "sinusoid" not in values["dataset"]


@flags.multi_flags_validator(
    ["algorithm", "inner_solver"],
    "--algorithm=maml and fomaml need --inner_solver=gradient_descent or nesterov",
)
def _is_differentiable(values: dict) -> bool:
    plain = values["inner_solver"] in ("gradient_descent", "nesterov")
    return plain or values["algorithm"] not in ("maml", "fomaml")


@flags.multi_flags_validator(
    ["linear_solver", "curvature"], "--linear_solver=dual needs --curvature=gauss_newton"
)
def _has_factors(values: dict) -> bool:
    return values["linear_solver"] != "dual" or values["curvature"] == "gauss_newton"


@flags.multi_flags_validator(
    ["algorithm", "learn_inner_rate", "recompute"],
    "--learn_inner_rate and --recompute need --algorithm=maml, which takes the path of the inner "
    "steps",
)
def _takes_the_path(values: dict) -> bool:
    wanted = values["learn_inner_rate"] != "none" or values["recompute"]
    return not wanted or values["algorithm"] == "maml"


@flags.multi_flags_validator(
    ["algorithm", "learned_loss"],
    "--learned_loss needs --algorithm=imaml or maml: fomaml and reptile cannot train it",
)
def _trains_the_loss(values: dict) -> bool:
    return not values["learned_loss"] or values["algorithm"] in ("imaml", "maml")


@flags.multi_flags_validator(
    ["dataset", "adapt", "mixed_precision"],
    "--mixed_precision is for --adapt=head on images: what adapts stays float32",
)
def _adapts_in_float32(values: dict) -> bool:
    head = values["adapt"] == ["head"] and "sinusoid" not in values["dataset"]
    return head or not values["mixed_precision"]


@flags.multi_flags_validator(
    ["dataset", "distort", "views", "cosine", "centered", "tied_head"],
    "--distort, --views, --cosine, --centered and --tied_head are for images: not for sinusoids",
)
def _are_images(values: dict) -> bool:
    of_images = any(values[name] for name in values if name != "dataset")
    return not of_images or "sinusoid" not in values["dataset"]


@flags.multi_flags_validator(["view_size", "views"], "--view_size is for --views")
def _has_views(values: dict) -> bool:
    return values["views"] or not values["view_size"]


@flags.multi_flags_validator(
    ["learned_loss", "views"], "--learned_loss reads the activations of one view: not with --views"
)
def _sees_one_view(values: dict) -> bool:
    return not (values["learned_loss"] and values["views"])


@flags.multi_flags_validator(
    ["algorithm", "dataset", "learned_loss", "self_training"],
    "--self_training guesses classes of images: for --algorithm=imaml, maml or fomaml, not for "
    "sinusoids, and not with --learned_loss",
)
def _guesses_classes(values: dict) -> bool:
    known = values["algorithm"] in ("imaml", "maml", "fomaml")
    can = known and "sinusoid" not in values["dataset"] and not values["learned_loss"]
    return can or not values["self_training"]


@flags.multi_flags_validator(
    ["self_training", "balanced_queries"], "--balanced_queries is for --self_training"
)
def _guesses(values: dict) -> bool:
    return values["self_training"] > 0 or not values["balanced_queries"]


@flags.multi_flags_validator(
    ["dataset", "learned_loss"], "--dataset=unlabelled_sinusoid needs --learned_loss"
)
def _has_labels(values: dict) -> bool:
    return values["learned_loss"] or values["dataset"] != "unlabelled_sinusoid"


@flags.multi_flags_validator(
    ["algorithm", "strongly_convex_momentum"],
    "--strongly_convex_momentum needs --algorithm=imaml, which has a proximal term",
)
def _is_convex(values: dict) -> bool:
    return not values["strongly_convex_momentum"] or values["algorithm"] == "imaml"


@flags.multi_flags_validator(
    ["algorithm", "proximal_per", "learn_proximal_strength", "adapt"],
    "--algorithm=released_imaml has one fixed lambda and adapts all weights, as the code published "
    "with the paper: --proximal_per, --learn_proximal_strength and --adapt are not for it",
)
def _is_as_published(values: dict) -> bool:
    changed = values["proximal_per"] != "model" or values["learn_proximal_strength"]
    return values["algorithm"] != "released_imaml" or not (changed or values["adapt"])


@flags.multi_flags_validator(
    ["algorithm", "adapt"],
    "--algorithm=reptile moves weights to where they adapt, and would never learn those that "
    "--adapt leaves out",
)
def _moves_what_adapts(values: dict) -> bool:
    return values["algorithm"] != "reptile" or not values["adapt"]


@flags.multi_flags_validator(
    ["algorithm", "classes", "training_way", "dataset", "tied_head", "learned_loss"],
    "--algorithm=supervised needs images and --classes, and no --tied_head or --learned_loss; "
    "--classes and --training_way are for it alone",
)
def _is_supervised(values: dict) -> bool:
    if values["algorithm"] != "supervised":
        return not (values["classes"] or values["training_way"])
    wrong = values["tied_head"] or values["learned_loss"] or "sinusoid" in values["dataset"]
    return values["classes"] > 1 and values["training_way"] != 1 and not wrong
