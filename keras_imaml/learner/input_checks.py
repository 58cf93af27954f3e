"""What a learner is fed, checked before anything is computed with it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._compat.keras_graph import structure_of
from keras_imaml._utils.keras_losses import has_class_numbers
from keras_imaml._utils.outputs import losses_of_outputs, targets_of_outputs
from keras_imaml._utils.structures import with_none

_NAMES = ("support_x", "support_y", "support_weights", "query_x", "query_y", "query_weights")


def check_element(data: Any) -> Any:
    """`((support_x, support_y, support_weights), (query_x, query_y, query_weights), steps)`.

    Args:
        data: What Keras makes of an element. Either set may come without weights, and tasks without
            numbers of inner steps: these are `()` then.

    Raises:
        ValueError: If it has another structure.
    """
    if isinstance(data, (list, tuple)):
        data = tuple(data)
        while data and data[-1] is None:
            data = data[:-1]  # Keras adds targets and sample weights, which there are none of
        if len(data) == 1 and isinstance(data[0], (list, tuple)):
            data = tuple(data[0])  # all of it was given as `x`
    steps: Any = ()
    if isinstance(data, tuple) and len(data) == 3:
        *data, steps = data
        _check_steps(steps)
    try:
        support, query = map(_with_weights, data)
    except (TypeError, ValueError):
        raise ValueError(
            "Invalid element of the data. Expected ((support_x, support_y), (query_x, query_y)), "
            "or triples with the weights of examples, and perhaps the numbers of inner steps of "
            "the tasks as a third part, all with a leading task axis, such as "
            "keras_imaml.data.glyphs('train').batch(16) "
            f"gives. Received: {keras.tree.map_structure(_shown, data)}"
        ) from None
    return support, query, steps


def _check_steps(steps: Any) -> None:
    """Refuse a third part of an element that is no number of inner steps for each task.

    Raises:
        ValueError: With what was given.
    """
    if isinstance(steps, tuple) and not steps:
        return
    dtype, shape = getattr(steps, "dtype", None), getattr(steps, "shape", None)
    known = dtype is not None and shape is not None
    if not (known and tf.as_dtype(dtype).is_integer and tf.TensorShape(shape).rank in (None, 1)):
        raise ValueError(
            "Invalid value for `sample_weight`, the third part of an element. Expected None, or "
            "the numbers of inner steps of the tasks, integers of shape (tasks,). Support and "
            "query examples have weights of their own, as ((support_x, support_y, "
            f"support_weights), (query_x, query_y, query_weights)). Received: "
            f"{type(steps).__name__} of {dtype} and shape {shape}"
        )


def check_takes_steps(inner: Any) -> None:
    """Refuse numbers of steps of single tasks for an inner solver that would not look at them.

    Raises:
        ValueError: With the solver.
    """
    if not getattr(inner, "steps_per_task", False):
        raise ValueError(
            "Invalid element of the data. Expected no numbers of inner steps: the inner solver has "
            "no `steps_per_task = True`, by which it says that it heeds `problem.steps`. "
            f"Received: inner={inner!r}"
        )


def check_steps_compile(learner: Any, steps: Any) -> None:
    """Refuse numbers of steps of single tasks where XLA would have to keep a path of any length.

    Raises:
        ValueError: With the algorithm.
    """
    algorithm = learner.algorithm
    keeps_path = not (getattr(algorithm, "first_order", True) or algorithm.recompute)
    if tf.is_tensor(steps) and learner.jit_compile and keeps_path:
        raise ValueError(
            "Invalid value for `jit_compile`. Expected False where tasks have numbers of inner "
            "steps, or keras_imaml.MAML(recompute=True): XLA keeps no path of unknown length. "
            f"Received: jit_compile=True with algorithm={algorithm!r}"
        )


def _with_weights(part: Any) -> tuple[Any, Any, Any]:
    if not isinstance(part, (tuple, list)):  # an array of two rows is no pair
        raise TypeError(part)
    x, y, weights = part if len(part) == 3 else (*part, None)
    return x, y, () if weights is None else weights


def check_weighted(model: keras.Model) -> None:
    """Refuse a network whose own losses would count examples that are not there.

    Raises:
        ValueError: With the layer.
    """
    for layer in all_layers(model):
        if getattr(layer, "activity_regularizer", None):
            raise ValueError(
                f"Examples cannot have weights: the layer {layer.name!r} has an "
                "`activity_regularizer`, which would count examples that are not there. Remove it, "
                f"or give elements without weights. Received: {layer.activity_regularizer!r}"
            )


def _shown(part: Any) -> Any:
    return tuple(part.shape) if getattr(part, "shape", None) is not None else part


def check_examples(model: keras.Model, data: Any) -> None:
    """Refuse tasks where examples are expected, by a `ValueError`."""
    inputs = getattr(model, "inputs", None)
    try:
        (support_x, _, _), *_ = check_element(data)
    except ValueError:
        return  # examples, with or without targets
    first = next((x for x in keras.tree.flatten(support_x) if hasattr(x, "shape")), None)
    if not inputs or first is None or len(first.shape) != len(inputs[0].shape) + 1:
        return
    raise ValueError(
        "Invalid value for `x`. Expected inputs [examples, ...]: `predict` does not adapt, it "
        "evaluates the network at the meta-learned weights. For tasks call learner.evaluate(tasks) "
        "or keras_imaml.evaluate(learner, tasks); for predictions of one task "
        "learner.adapt(support_x, support_y).predict(query_x). Received: ((support_x, support_y), "
        f"(query_x, query_y)) with support_x of shape {tuple(first.shape)}"
    )


def check_end(name: str, data: Any, steps_name: str, steps: Any) -> None:
    """Refuse data that is known to have no end, where no number of steps is given.

    Raises:
        ValueError: With the argument that is missing.
    """
    if steps is not None:
        return
    endless = isinstance(data, keras.utils.PyDataset) and data.num_batches is None
    if isinstance(data, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        cardinality = data.cardinality() if callable(data.cardinality) else data.cardinality
        endless = int(cardinality) == tf.data.INFINITE_CARDINALITY
    if endless:
        raise ValueError(
            f"Invalid value for `{steps_name}`. Expected a number of steps: `{name}` has no end, "
            f"as `repeat()` without a count gives it. Received: {steps_name}=None"
        )


def check_shapes(
    model: keras.Model, support: Sequence[Any], query: Sequence[Any], steps: Any = ()
) -> None:
    """Refuse parts that do not fit one another or the network, as far as their shapes are known.

    Args:
        model: The network; what it takes is known if it is functional.
        support: Inputs, targets and weights, each `[tasks, examples, ...]` or a structure of
            such; empty ones are not there.
        query: The same of the query sets.
        steps: Numbers of inner steps, `[tasks]`. Defaults to `()`.

    Raises:
        ValueError: With the name of the part, what was expected and what came.
    """
    named = zip(_NAMES, (*support, *query), strict=True)
    parts = {name: tf.nest.flatten(part) for name, part in named}
    shapes = {name: [x.shape for x in part] for name, part in parts.items()}
    for name, part in shapes.items():
        for shape in part:
            if shape.rank is not None and shape.rank < 2:
                _refuse(name, "shape (tasks, examples, ...)", shape)
            if shape.rank is not None and shape[1] == 0:
                _refuse(name, "one example at least", shape)
            if shape.rank is not None and 0 in shape[2:]:
                _refuse(name, "examples that are not empty", shape)
    shapes["steps"] = [x.shape for x in tf.nest.flatten(steps)]
    named_shapes = [(name, shape) for name, part in shapes.items() for shape in part if shape.rank]
    for name, shape in named_shapes:
        if not shape[:1].is_compatible_with(named_shapes[0][1][:1]):
            _refuse(
                name, f"as many tasks as in {named_shapes[0][0]}, {named_shapes[0][1][0]}", shape
            )
    for name in ("support", "query"):
        inputs = f"{name}_x"
        for targets in (f"{name}_y", f"{name}_weights"):
            for x in shapes[inputs]:
                for y in shapes[targets]:
                    if not x[1:2].is_compatible_with(y[1:2]):
                        _refuse(targets, f"as many examples as in {inputs}, {x[1]}", y)
            if parts[targets] or targets.endswith("_y"):
                _check_when_known(inputs, parts[inputs], targets, parts[targets])
        for weights in parts[f"{name}_weights"]:
            if weights.shape.rank not in (None, 2) or weights.dtype == tf.string:
                expected = "numbers of shape (tasks, examples)"
                _refuse(f"{name}_weights", expected, f"{weights.dtype.name} of {weights.shape}")
    takes = getattr(model, "inputs", None) or []
    for name in ("support_x", "query_x"):
        if len(takes) != 1 or len(parts[name]) != 1:
            continue  # Keras matches several by name or by order
        (x,), wanted = parts[name], tf.TensorShape(takes[0].shape[1:])
        if x.dtype in (tf.string, tf.bool) and x.dtype.name != takes[0].dtype:
            _refuse(name, "numbers", f"{x.dtype.name} of shape {x.shape}")
        if not x.shape[2:].is_compatible_with(wanted):
            _refuse(name, f"examples of shape {wanted}, which {model.name!r} takes", x.shape)
    for name in ("support_y", "query_y"):
        for y in parts[name]:
            if y.dtype == tf.string:
                _refuse(name, "numbers", f"{y.dtype.name} of shape {y.shape}")


def _check_when_known(inputs: str, xs: list[Any], targets: str, ys: list[Any]) -> None:
    """Numbers of examples that the graph does not know are checked when it runs."""
    rows = [tf.shape(part)[1] for part in (*xs, *ys) if part.shape[1:2] == [None]]
    if not rows or not xs:
        return
    first = tf.shape(xs[0])[1]
    message = f"Invalid value for `{inputs}`. Expected one example at least."
    tf.debugging.assert_positive(first, message)
    message = f"Invalid value for `{targets}`. Expected as many examples as in {inputs}."
    for count in rows:
        tf.debugging.assert_equal(count, first, message)


def check_weights(sample_weight: Any) -> Any:
    """Weights of the examples of one task, with a check of their values if they are known now.

    Raises:
        ValueError: If one is below zero or not finite, or all are zero.
    """
    if tf.is_tensor(sample_weight) and not tf.executing_eagerly():
        return sample_weight
    weights = np.asarray(sample_weight)
    usable = weights.ndim == 1 and weights.dtype.kind in "biuf"
    if not usable or not np.all(np.isfinite(weights) & (weights >= 0)) or not np.any(weights > 0):
        raise ValueError(
            "Invalid value for `sample_weight`. Expected one finite number for each support "
            f"example, none below zero and one above. Received: sample_weight={sample_weight!r}"
        )
    return tf.constant(weights)


def check_labels(model: keras.Model, loss: Any, labels: Any, weights: Any = ()) -> None:
    """Refuse class numbers, known now, for which the network has no output.

    Args:
        model: The network.
        loss: The loss of `compile`.
        labels: Of one task.
        weights: Of its examples; those of weight 0 are not there. Defaults to `()`.

    Raises:
        ValueError: With the range that was expected.
    """
    if not getattr(model, "outputs", None):
        return
    outputs, names = structure_of(model, "output"), getattr(model, "output_names", None)
    targets = keras.tree.flatten(targets_of_outputs(with_none(labels), outputs, names, loss))
    losses = losses_of_outputs(loss, outputs, names)
    if len(targets) == len(losses):
        for output, part, target in zip(keras.tree.flatten(outputs), losses, targets, strict=True):
            if part is not None and has_class_numbers(part) and target is not None:
                _check_class_numbers(output.shape[-1], part, target, weights)


def _check_class_numbers(classes: int | None, loss: Any, labels: tf.Tensor, weights: Any) -> None:
    if classes is None or getattr(loss, "ignore_class", None) is not None:
        return
    if labels.dtype == tf.string:
        _refuse("support_y", "class numbers", f"{labels.dtype.name} of shape {labels.shape}")
    numbers = tf.cast(labels, tf.float64)
    if np.shape(weights) and np.shape(weights)[:1] == tuple(labels.shape[:1]):
        numbers = tf.boolean_mask(numbers, np.asarray(weights) > 0)
    low, high = (float(reduce(numbers)) for reduce in (tf.reduce_min, tf.reduce_max))
    if not (low >= 0 and high < classes):
        raise ValueError(
            f"Invalid value for `support_y`. Expected class numbers from 0 to {classes - 1}. "
            f"Received: numbers from {low:g} to {high:g}"
        )


def _refuse(name: str, expected: str, received: Any) -> None:
    raise ValueError(f"Invalid value for `{name}`. Expected {expected}. Received: {received}")
