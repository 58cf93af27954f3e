"""What Keras knows of models, layers and tensors, and keeps to itself.

Each function has one private attribute, which Keras has no public access to.

Tested with Keras 3.13 and 3.15. Without an attribute, Python raises an `AttributeError` that names
it; where a tensor has no mask and a loss no arguments, Keras leaves the attribute out.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def all_layers(model: keras.layers.Layer, include_self: bool = True) -> list[keras.layers.Layer]:
    """The layers of a model or layer at every depth; `model.layers` has one level."""
    return list(model._flatten_layers(include_self=include_self))


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables of a layer without those of the layers in it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def own_generators(layer: keras.layers.Layer) -> Sequence[keras.random.SeedGenerator]:
    """The generators of a layer without those of the layers in it."""
    return layer._seed_generators


def has_mask(tensor: Any) -> bool:
    """Whether Keras carries a mask with a tensor."""
    return getattr(tensor, "_keras_mask", None) is not None


def tensorflow_variable(variable: keras.Variable) -> tf.Variable:
    """The variable itself; `variable.value` is what stands in for it within a scope."""
    return variable._value


def kernel_variable(layer: keras.layers.Layer) -> keras.Variable:
    """The kernel itself; `layer.kernel` is a sum with LoRA."""
    return layer._kernel


def arguments_of(loss: Any) -> dict[str, Any]:
    """The arguments of a Keras loss by name, those of its function among them."""
    return {**getattr(loss, "_fn_kwargs", {}), **vars(loss)}


def step_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """The variable that counts steps; `optimizer.iterations` counts updates of the weights.

    There are fewer of these with `gradient_accumulation_steps`.
    """
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def clipped(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """Gradients as the optimizer clips them before it takes them."""
    return optimizer._clip_gradients(gradients)


def compiled_metrics(model: keras.Model) -> Any:
    """The container of the metrics that `compile` got, or None."""
    return model._compile_metrics


def given_metrics(container: Any) -> tuple[Any, Any]:
    """The metrics and the weighted metrics that `compile` got, as a user wrote them."""
    return container._user_metrics, container._user_weighted_metrics


def given_loss_weights(container: Any) -> Any:
    """The weights of losses that `compile` got, as a user wrote them."""
    return container._user_loss_weights


def of_one_task(container: Any, output_names: Any) -> Any:
    """Another container of the same metrics, with variables of its own."""
    return type(container)(*given_metrics(container), output_names=output_names)


def compiled_loss(model: keras.Model) -> Any:
    """The container of the losses that `compile` got, which tracks the mean of each output."""
    return model._compile_loss


def loss_tracker(model: keras.Model) -> keras.metrics.Mean:
    """The metric named `loss`."""
    return model._loss_tracker


def untrack(layer: keras.layers.Layer, part: keras.layers.Layer) -> None:
    """Let a layer forget one of the layers that it holds, and its variables."""
    layer._tracker.untrack(part)
