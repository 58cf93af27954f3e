"""A learner for tasks of another number of classes."""

import keras

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._utils.validation import check_integer
from keras_imaml.export.layer_state import copy_other_state
from keras_imaml.layers import TiedDense
from keras_imaml.learner.meta_learner import MetaLearner


def with_classes(learner: MetaLearner, classes: int) -> MetaLearner:
    """Copy a learner, with its weights, for tasks of another number of classes.

    Args:
        learner: A learner whose network ends in a `keras_imaml.layers.TiedDense`, which knows
            nothing of single classes; compiled or not.
        classes: Number of classes of a task, at least 2.

    Returns:
        A new `MetaLearner`, compiled like the other with a fresh optimizer.

    Raises:
        ValueError: If the network has no tied head, or other weights depend on the number of
            classes.

    Example:

    ```python
    network = ki.models.Conv4(20, tied_head=True)
    learner = ki.MetaLearner(network, ki.IMAML(linear=ki.linear.Dual()), adapt="head")
    five_way = ki.with_classes(learner, 5)
    ```
    """
    classes = check_integer("classes", classes, minimum=2)
    heads = [layer for layer in all_layers(learner.model) if isinstance(layer, TiedDense)]
    if len(heads) != 1:
        raise ValueError(
            "Invalid value for `learner`. Expected a network with one keras_imaml.layers."
            "TiedDense, such as keras_imaml.models.Conv4(20, tied_head=True): any other head has "
            f"meta-learned weights for each class. Received: {len(heads)} of them"
        )
    config = learner.get_config()
    _resize(config["model"], heads[0].name, classes)
    resized = MetaLearner.from_config(config)
    if learner.compiled:  # it makes the variables of an inner loss
        resized.compile_from_config(learner.get_compile_config())
    tied = {id(weight) for weight in heads[0].weights}
    for old, new in zip(learner.weights, resized.weights, strict=True):
        if id(old) in tied:
            mean = keras.ops.mean(old, axis=-1, keepdims=True)
            new.assign(keras.ops.broadcast_to(mean, new.shape))
        elif old.shape == new.shape:
            new.assign(old)
        else:
            raise ValueError(
                "Invalid value for `learner`. Expected meta-parameters that do not depend on the "
                f"number of classes, but {old.path!r} has shape {tuple(old.shape)} for "
                f"{heads[0].units} classes: use one for the model or for each layer. "
                f"Received: classes={classes}"
            )
    copy_other_state(learner.model, resized.model)
    return resized


def _resize(config: dict, name: str, classes: int) -> None:
    """Set the units of the layer `name` in the configuration of a model."""
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and inner.get("name") == name and "units" in inner:
            inner["units"] = classes
        for value in config.values():
            _resize(value, name, classes)
    elif isinstance(config, (list, tuple)):
        for value in config:
            _resize(value, name, classes)
