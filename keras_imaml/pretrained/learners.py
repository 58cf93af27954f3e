"""Make a trained learner by its name."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_imaml._utils.validation import check_choice, check_integer
from keras_imaml.algorithms import IMAML
from keras_imaml.inner import NewtonCG
from keras_imaml.learner.meta_learner import MetaLearner
from keras_imaml.linear import ConjugateGradient, Dual
from keras_imaml.models import MLP, Conv4
from keras_imaml.pretrained.cards import FOLDER, NAMES
from keras_imaml.recipes.views import seen_in_views, views_of_photographs

_CLASSES = 5


def load(name: str, classes: int | None = None) -> MetaLearner:
    """Load a trained learner that comes with the package.

    It is compiled: adapt it to a task, train it further, or export it. `python -m keras_imaml
    --learners` lists data, recipe, accuracy and license.

    Args:
        name: `"omniglot"` (drawn characters, 32 pixels), `"mini_imagenet"` (photographs),
            `"glyphs"` (characters drawn by a formula, 28 pixels) or `"sinusoid"` (sine waves).
        classes: Number of classes of a task, at least 2. Defaults to `None`: 5, or no classes for
            sine waves.

    Returns:
        A compiled `keras_imaml.MetaLearner`.

    Raises:
        ValueError: If there is no learner of this name, or sine waves should have classes.

    Example:

    ```python
    (support_x, support_y), (query_x, query_y) = next(iter(ki.data.glyphs("test", way=3)))
    model = ki.load("glyphs", classes=3).adapt(support_x, support_y)
    model.predict(query_x).argmax(axis=-1)
    ```
    """
    learner = build(name, classes)
    with np.load(FOLDER / f"{name}.npz") as stored:
        set_weights(learner.model, stored)
    return learner


def build(name: str, classes: int | None = None) -> MetaLearner:
    """The learner of a name, as `load` makes it, before it has its weights."""
    check_choice("name", name, NAMES)
    if name in _IMAGES:
        count = _CLASSES if classes is None else check_integer("classes", classes, minimum=2)
        return _IMAGES[name](count)
    if classes is not None:
        raise ValueError(
            "Invalid value for `classes`. Expected None: sine waves have no classes. "
            f"Received: classes={classes!r}"
        )
    return _sinusoid()


def set_weights(model: keras.Model, stored: Any) -> None:
    """Set the weights of a network from arrays by their paths; a tied head has one column."""
    for variable in model.variables:
        value = np.asarray(stored[variable.path], variable.dtype)
        variable.assign(np.broadcast_to(value, variable.shape))


def _omniglot(classes: int) -> MetaLearner:
    return _of_images(
        Conv4(classes, (32, 32, 1), downsample="average", tied_head=True, fixed_statistics=True),
        proximal_strength=0.2,
    )


def _glyphs(classes: int) -> MetaLearner:
    return _of_images(
        Conv4(classes, filters=32, downsample="average", tied_head=True, fixed_statistics=True),
        proximal_strength=0.2,
    )


def _mini_imagenet(classes: int) -> MetaLearner:
    network = Conv4(
        classes,
        (48, 48, 3),
        downsample="max",
        tied_head=True,
        cosine=True,
        fixed_statistics=True,
    )
    views = seen_in_views(network, views_of_photographs(48), (64, 64, 3))
    return _of_images(views, proximal_strength=0.02)


_IMAGES: dict[str, Callable[[int], MetaLearner]] = {
    "glyphs": _glyphs,
    "mini_imagenet": _mini_imagenet,
    "omniglot": _omniglot,
}


def _of_images(network: keras.Model, proximal_strength: float) -> MetaLearner:
    algorithm = IMAML(proximal_strength, NewtonCG(steps=5), Dual())
    learner = MetaLearner(network, algorithm, adapt="head")
    learner.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return learner


def _sinusoid() -> MetaLearner:
    algorithm = IMAML(0.5, NewtonCG(steps=4), ConjugateGradient())
    learner = MetaLearner(MLP(1), algorithm)
    learner.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return learner
