"""SavedModels of a learner: they adapt, and need neither Keras nor this package to run."""

from typing import Any

import keras
import tensorflow as tf
from keras.export import ExportArchive

from keras_imaml.elements import has_class_numbers


def export_learner(
    learner: Any, filepath: str, target_spec: Any = None, verbose: bool = True
) -> None:
    """Write a SavedModel with two signatures.

    * `predict` (also the default): the network at the meta-learned weights.
    * `adapt_and_predict`: `support_x, support_y, query_x` of one task, with any number of
      examples and queries; gives the outputs for the query set after adaptation. With a learned
      loss, `support_x, query_x`.

    Args:
        learner: A compiled `keras_imaml.MetaLearner`.
        filepath: The folder to write.
        target_spec: `tf.TensorSpec` of `support_y`, `[None, ...]`. Defaults to integer labels for
            a sparse loss, and to the shape of the network's outputs for any other.
        verbose: Whether to print what was written. Defaults to `True`.

    Example:

    ```python
    learner.export("saved_models/few_shot")
    served = tf.saved_model.load("saved_models/few_shot")
    served.adapt_and_predict(support_x, support_y, query_x)
    ```
    """
    learner._assert_compile_called("export")
    examples = keras.tree.map_structure(
        lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), _inputs(learner.model)
    )
    archive = ExportArchive()
    archive.track(learner)
    archive.add_endpoint("predict", lambda x: learner.model(x, training=False), [examples])
    support_x, query_x = _named(examples, "support_x"), _named(examples, "query_x")
    if learner.learned_loss is None:
        adapt_and_predict = learner.adapt_and_predict
        specs = [support_x, target_spec or _targets(learner), query_x]
    else:
        specs = [support_x, query_x]

        def adapt_and_predict(support_x: Any, query_x: Any) -> Any:
            return learner.adapt_and_predict(support_x, (), query_x)

    archive.add_endpoint("adapt_and_predict", adapt_and_predict, specs)
    archive.write_out(filepath, verbose=verbose)


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
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _named(examples: Any, name: str) -> Any:
    if isinstance(examples, list):
        return [tf.TensorSpec(s.shape, s.dtype, f"{name}_{i}") for i, s in enumerate(examples)]
    return tf.TensorSpec(examples.shape, examples.dtype, name)


def _targets(learner: Any) -> Any:
    if has_class_numbers(learner._compile_loss._user_loss):
        return tf.TensorSpec([None], tf.int32, "support_y")
    outputs = learner.model.outputs
    specs = [
        tf.TensorSpec([None, *z.shape[1:]], z.dtype, f"support_y_{i}" if i else "support_y")
        for i, z in enumerate(outputs)
    ]
    return specs[0] if len(specs) == 1 else specs
