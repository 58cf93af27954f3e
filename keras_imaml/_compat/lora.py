"""LoRA layers of Keras: their low-rank weights adapt, their kernels stay as they are.

Three things about `enable_lora` of `Dense`, `EinsumDense` and `Embedding` matter here. The layers
add the product of the low-rank weights to the kernel, which would be a kernel for every task. A
model's configuration does not always tell on which layers it was called. And a file keeps the sum
of kernel and product, rounded once more where the kernel is quantized, with low-rank weights of
zero, which no gradient ever leaves again.

Tested with Keras 3.13 and 3.15. Without the private weights, Python raises an `AttributeError` that
names them. That the calls here still compute what those of Keras do is checked by `self_check`,
once a model with LoRA is used.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from keras_imaml._compat.keras_attributes import all_layers, own_variables
from keras_imaml._compat.replacement import Replacement

_LAYERS = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)
Settings = list[list[float]]


def low_rank_products() -> Replacement:
    """Within it, LoRA layers apply their two thin matrices to the activations, one by one.

    `x W + s (x A) B` in the place of `x (W + s A B)`: the same values and derivatives, without a
    kernel for each task.
    """
    return _replaced


def lora_layers(model: keras.Model) -> Iterable[tuple[int, keras.layers.Layer]]:
    """The layers on which LoRA is enabled, with their place among all layers of the model."""
    for place, layer in enumerate(all_layers(model)):
        if isinstance(layer, _LAYERS) and layer.lora_enabled:
            yield place, layer


def lora_settings(model: keras.Model) -> Settings:
    """`[place, rank, alpha]` of every LoRA layer, for `enable_lora`."""
    return [[place, layer.lora_rank, layer.lora_alpha] for place, layer in lora_layers(model)]


def enable_lora(model: keras.Model, settings: Settings) -> None:
    """Enable LoRA on the layers of a built copy where it is enabled on the original."""
    layers = all_layers(model)
    for place, rank, alpha in settings:
        layer = layers[int(place)]
        if not layer.lora_enabled:
            layer.enable_lora(int(rank))
        layer.lora_alpha = alpha  # a layer that is made from its configuration forgets it


def refuse_rounded_files(model: keras.Model) -> None:
    """Let quantized LoRA layers of a model of Keras' own classes refuse to be written to a file.

    Keras would round the sum of kernel and low-rank product once more.
    """

    def refusing(layer: keras.layers.Layer) -> Callable:
        def save_own_variables(store: Any) -> None:
            raise ValueError(
                f"The layer {layer.path!r} is quantized and has low-rank weights. Keras rounds "
                "their sum when it saves them, so that the model would come back with other "
                "predictions. Expected `model.export(folder)`, whose SavedModel predicts as this "
                "model does, or `learner.save(file)`, and to adapt again. "
                f"Received: quantization_mode={layer.quantization_mode!r}"
            )

        return save_own_variables

    for _, layer in lora_layers(model):
        if layer.quantization_mode is not None:
            layer.save_own_variables = refusing(layer)


class UnmergedLora(keras.layers.Layer):
    """Keeps kernels and low-rank weights of a model's LoRA layers apart in a file.

    A learner holds it under a name that Keras visits after the network: what the layers have read
    by then is replaced.

    Args:
        model: The network.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="unmerged_lora")
        # Not tracked: the layers belong to the network.
        self._weights_of = lambda: [v for _, layer in lora_layers(model) for v in _weights(layer)]
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Keras calls this when it saves a learner."""
        for number, variable in enumerate(self._weights_of()):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Keras calls this when it loads a learner."""
        variables = self._weights_of()
        if len(store.keys()) != len(variables):
            raise ValueError(
                f"The file does not fit this learner. Expected {len(variables)} weights of LoRA "
                f"layers: enable LoRA on the same layers. Received: {len(store.keys())}"
            )
        for number, variable in enumerate(variables):
            variable.assign(np.asarray(store[str(number)]))


def _weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    if layer.quantization_mode is not None:  # the sum has other scales, and is rounded
        variables = own_variables(layer)
        return sorted(variables, key=lambda variable: variable.name)
    if isinstance(layer, keras.layers.Embedding):
        return [layer._embeddings, layer.lora_embeddings_a, layer.lora_embeddings_b]
    return [layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b]


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether a layer adds a low-rank product to a kernel of numbers."""
    return layer.lora_enabled and layer.quantization_mode is None


def _dense(layer: Any, inputs: Any, training: bool | None = None) -> Any:
    if not _is_plain(layer):
        return _stock[keras.layers.Dense](layer, inputs, training)
    ops = keras.ops
    thin = ops.matmul(ops.matmul(inputs, layer.lora_kernel_a), layer.lora_kernel_b)
    return _end(layer, ops.matmul(inputs, layer._kernel), thin)


def _einsum_dense(layer: Any, inputs: Any, training: bool | None = None) -> Any:
    given, kernel, output = layer.equation.replace("->", ",").split(",")
    last = kernel.strip()[-1]
    # B acts on the last axis of the output, which has to be the kernel's last one.
    if not _is_plain(layer) or last != output.strip()[-1] or last in given:
        return _stock[keras.layers.EinsumDense](layer, inputs, training)
    ops = keras.ops
    thin = ops.einsum(layer.equation, inputs, layer.lora_kernel_a)
    thin = ops.matmul(thin, layer.lora_kernel_b)
    return _end(layer, ops.einsum(layer.equation, inputs, layer._kernel), thin)


def _embedding(layer: Any, inputs: Any) -> Any:
    if not _is_plain(layer):
        return _stock[keras.layers.Embedding](layer, inputs)
    ops = keras.ops
    words = ops.cast(inputs, "int32") if inputs.dtype not in ("int32", "int64") else inputs
    thin = ops.matmul(ops.take(layer.lora_embeddings_a, words, axis=0), layer.lora_embeddings_b)
    scale = layer.lora_alpha / layer.lora_rank
    wide = ops.add(ops.take(layer._embeddings, words, axis=0), scale * thin)
    return ops.cast(wide, layer.compute_dtype)


def _end(layer: Any, wide: Any, thin: Any) -> Any:
    scale = layer.lora_alpha / layer.lora_rank
    x = keras.ops.cast(keras.ops.add(wide, scale * thin), layer.compute_dtype)
    if layer.bias is not None:
        x = keras.ops.add(x, layer.bias)
    return x if layer.activation is None else layer.activation(x)


def _put(calls: dict[type, Callable]) -> None:
    for kind, call in calls.items():
        setattr(kind, "call", call)  # noqa: B010 - types have no such attribute


_stock: dict[type, Callable] = {kind: kind.call for kind in _LAYERS}
_ours: dict[type, Callable] = dict(zip(_LAYERS, (_dense, _einsum_dense, _embedding), strict=True))
_replaced = Replacement(_put, _ours, _stock)
