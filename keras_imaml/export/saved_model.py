"""SavedModels of a learner, which adapt without Keras and without this package."""

from typing import Any

import keras
import tensorflow as tf
from keras.export import ExportArchive

from keras_imaml._compat.keras_attributes import all_layers
from keras_imaml._compat.keras_graph import structure_of
from keras_imaml._utils.keras_losses import (
    BINARY_CROSS_ENTROPIES,
    CROSS_ENTROPIES,
    classification,
    has_class_numbers,
    loss_name,
    takes_logits,
)
from keras_imaml._utils.outputs import losses_of_outputs, output_keys
from keras_imaml._utils.tracing import Traced
from keras_imaml._utils.validation import check_compiled, check_folder_name


def export_learner(
    learner: Any,
    filepath: str,
    format: str = "tf_saved_model",  # noqa: A002
    verbose: bool | None = None,
    input_signature: Any = None,
    target_spec: Any = None,
    sample_weight: bool = False,
) -> None:
    """Write a SavedModel with two signatures, or three.

    * `predict` (also the default): the network at the meta-learned weights.
    * `adapt_and_predict`: `support_x, support_y, query_x` of one task, with any number of
      examples and queries; gives the predictions for the query set after adaptation. With a
      learned loss, `support_x, query_x`.
    * `adapt_and_predict_weighted`, with `sample_weight=True`: as before, with `sample_weight`,
      `[examples]`, as a last input. An example of weight 0 is not there.

    All return a dictionary. With a classification loss it has `probabilities`,
    `[queries, classes]`, and `logits` if the network computes them. With any other loss it has
    `predictions`. Several outputs prefix these with their names, such as `color_logits`.
    `adapt_and_predict` adds three scalars:

    * `adapted`, bool: `False` if the inner loop diverged, or the task holds NaN or infinity. The
      predictions are then NaN.
    * `inner_residual`: the norm of the gradient of the inner objective at its last evaluation,
      divided by that before adaptation. It is near 0 at a solution.
    * `inner_steps`, int32: steps of the inner solver.

    Args:
        learner: A compiled `keras_imaml.MetaLearner`.
        filepath: The folder to write.
        format: `"tf_saved_model"`, the only one that can hold an adaptation. Defaults to it.
        verbose: Whether to print the signatures. Defaults to `None`, which is `True`.
        input_signature: As for `keras.Model.export`, what the network takes, such as
            `[keras.InputSpec(shape=(None, 28, 28, 1), dtype="float32")]`. Defaults to `None`: the
            inputs of the network.
        target_spec: `tf.TensorSpec` of `support_y`, `[None, ...]`, or a structure of them.
            Defaults to integer labels for a sparse inner loss (one for each example, token or
            pixel), and to the shape of the network's outputs for any other. Several outputs have a
            list, or a dictionary if the loss or the outputs are one; without those that have
            no loss.
        sample_weight: Whether to write the third signature. Defaults to `False`.

    Example:

    ```python
    (support_x, support_y), (query_x, query_y) = next(iter(ki.data.glyphs("test")))
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=4), ki.IMAML())
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    learner.export("/tmp/few_shot", verbose=False)
    served = tf.saved_model.load("/tmp/few_shot")     # needs neither Keras nor this package
    served.adapt_and_predict(support_x, support_y, query_x)["probabilities"]
    ```
    """
    check_compiled(learner, "export")
    filepath = check_folder_name("filepath", filepath)
    _check_format(format)
    inputs = _inputs(learner.model) if input_signature is None else _only(input_signature)
    examples = keras.tree.map_structure(
        lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype or "float32"), inputs
    )

    def predict(x: Any) -> dict[str, tf.Tensor]:
        return _named_outputs(learner, learner.model(x, training=False))

    def adapt_and_predict(
        support_x: Any, support_y: Any, query_x: Any, *weights: Any
    ) -> dict[str, tf.Tensor]:
        solution, outputs = learner.solve(support_x, support_y, query_x, *weights)
        return {
            **_named_outputs(learner, outputs),
            "adapted": solution.valid[0],
            "inner_residual": tf.math.divide_no_nan(
                solution.gradient_norm[0], solution.initial_gradient_norm[0]
            ),
            "inner_steps": solution.steps[0],
        }

    archive = ExportArchive()
    for layer in all_layers(learner):
        # Endpoints track variables, but no tables, such as that of a StringLookup.
        if layer.built and not layer.variables and layer is not learner.model:
            archive.track(layer)
    archive.add_endpoint("predict", predict, [examples])
    support_x, query_x = _named(examples, "support_x"), _named(examples, "query_x")
    weights = tf.TensorSpec([None], learner.parameters.dtype, "sample_weight")
    if learner.learned_loss is None:
        specs = [support_x, target_spec or _targets(learner), query_x]
        graph, weighted_graph = _graphs(adapt_and_predict, specs, weights, sample_weight)

        def adapt(support_x: Any, support_y: Any, query_x: Any) -> dict[str, tf.Tensor]:
            return graph(support_x, support_y, query_x)

        def adapt_weighted(
            support_x: Any, support_y: Any, query_x: Any, sample_weight: Any
        ) -> dict[str, tf.Tensor]:
            return weighted_graph(support_x, support_y, query_x, sample_weight)

    else:
        specs = [support_x, query_x]
        graph, weighted_graph = _graphs(
            lambda x, query_x, *weights: adapt_and_predict(x, (), query_x, *weights),
            *(specs, weights, sample_weight),
        )

        def adapt(support_x: Any, query_x: Any) -> dict[str, tf.Tensor]:  # type: ignore[misc]
            return graph(support_x, query_x)

        def adapt_weighted(  # type: ignore[misc]
            support_x: Any, query_x: Any, sample_weight: Any
        ) -> dict[str, tf.Tensor]:
            return weighted_graph(support_x, query_x, sample_weight)

    archive.add_endpoint("adapt_and_predict", adapt, specs)
    if sample_weight:
        archive.add_endpoint("adapt_and_predict_weighted", adapt_weighted, [*specs, weights])
    archive.write_out(filepath, verbose=verbose is None or verbose)


def _graphs(function: Any, specs: Any, weights: tf.TensorSpec, weighted: bool) -> list[Any]:
    """Without and with weights of examples. TensorFlow traces an endpoint again as it saves it.

    An endpoint that calls a graph takes no time to trace.
    """
    arguments = [specs, [*specs, weights]] if weighted else [specs]
    graphs = [Traced(function).get_concrete_function(*each) for each in arguments]
    return graphs if weighted else [*graphs, None]


def _check_format(name: str) -> None:
    if name != "tf_saved_model":
        raise ValueError(
            "Invalid value for `format`. Expected 'tf_saved_model', which alone can hold an "
            "adaptation: other formats have no loops and gradients. The model of one task has "
            "all formats of Keras: learner.adapt(support_x, support_y).export(filepath, "
            f"format={name!r}). Received: format={name!r}"
        )


def _only(signature: Any) -> Any:
    """The one argument of a signature that lists the arguments of a network."""
    single = isinstance(signature, (list, tuple)) and len(signature) == 1
    return signature[0] if single else signature


def _named_outputs(learner: Any, outputs: Any) -> dict[str, tf.Tensor]:
    """The outputs, named by the kind of their losses."""
    flat, names = keras.tree.flatten(outputs), learner.output_names
    losses = losses_of_outputs(learner.loss, outputs, names)
    if len(flat) == 1:
        return _read(flat[0], losses[0])
    return {
        f"{name}_{kind}": value
        for name, z, loss in zip(output_keys(outputs, names) or names, flat, losses, strict=True)
        for kind, value in _read(z, loss).items()
    }


def _read(outputs: tf.Tensor, loss: Any) -> dict[str, tf.Tensor]:
    name = "" if loss is None else loss_name(loss)
    if name not in CROSS_ENTROPIES | BINARY_CROSS_ENTROPIES:
        return {"predictions": outputs}
    if not takes_logits(loss):
        return {"probabilities": outputs}
    to_probabilities = tf.sigmoid if name in BINARY_CROSS_ENTROPIES else tf.nn.softmax
    return {"logits": outputs, "probabilities": to_probabilities(outputs)}


def _inputs(model: keras.Model) -> Any:
    try:
        inputs = model.inputs
    except AttributeError:
        inputs = None
    if not inputs:
        raise ValueError(
            f"The model {model.name!r} has no recorded inputs to export. Expected a Sequential or "
            f"functional model, or wrap it in one. Received: {type(model).__name__}"
        )
    return structure_of(model, "input")


def _named(examples: Any, name: str) -> Any:
    if isinstance(examples, dict):
        return {
            key: tf.TensorSpec(s.shape, s.dtype, f"{name}_{key}") for key, s in examples.items()
        }
    if isinstance(examples, list):
        return [tf.TensorSpec(s.shape, s.dtype, f"{name}_{i}") for i, s in enumerate(examples)]
    return tf.TensorSpec(examples.shape, examples.dtype, name)


def _targets(learner: Any) -> Any:
    outputs, names = structure_of(learner.model, "output"), learner.output_names
    losses = losses_of_outputs(learner.inner_loss, outputs, names)
    flat = keras.tree.flatten(outputs)
    keys = output_keys(outputs, names) or range(len(flat))
    wanted = [
        (key, z, loss) for key, z, loss in zip(keys, flat, losses, strict=True) if loss is not None
    ]
    if len(flat) > 1 and (isinstance(learner.inner_loss, dict) or isinstance(outputs, dict)):
        return {key: _target(z, loss, f"support_y_{key}") for key, z, loss in wanted}
    specs = [
        _target(z, loss, f"support_y_{place}" if place else "support_y")
        for place, (_, z, loss) in enumerate(wanted)
    ]
    return specs[0] if len(specs) == 1 else specs


def _target(output: Any, loss: Any, name: str) -> tf.TensorSpec:
    """Class numbers have the shape of the outputs without the axis of the classes."""
    shape = [None, *output.shape[1:]]
    if not has_class_numbers(loss):
        return tf.TensorSpec(shape, output.dtype, name)
    rule = classification(loss, None, None)
    del shape[-1 if rule is None else rule.axis]
    return tf.TensorSpec(shape, tf.int32, name)
