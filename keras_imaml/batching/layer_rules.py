"""How layers evaluate all tasks together, for the layers that we know.

`tf.vectorized_map` evaluates any network under the weights of many tasks, operation by operation.
For these layers there is a shorter way: images of all tasks lie side by side, as channels of one
image (`[examples, height, width, tasks x channels]`), from the first convolution to the last.
Convolutions are then grouped ones without a change of layout between them, and normalization by
the examples of each task is normalization of channels, for which TensorFlow has kernels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.grouped_convolution import (
    by_groups,
    folded,
    static_or_dynamic_shape,
    supports_groups,
)
from keras_imaml._compat.keras_attributes import has_mask
from keras_imaml._compat.keras_graph import nodes_of, structure_of
from keras_imaml.batching.activations import Activations, Meta, Weight
from keras_imaml.batching.layer_normalization import layer_normalization
from keras_imaml.batching.normalization import (
    first,
    normalize,
    normalize_by_first,
    normalize_by_shares,
    widened,
)
from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization, shares_in_mean
from keras_imaml.meta_parameters.parameters import Parameters

_FOR_EACH_NUMBER = {
    getattr(keras.activations, name)
    for name in (
        "elu",
        "exponential",
        "gelu",
        "hard_sigmoid",
        "leaky_relu",
        "linear",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softplus",
        "tanh",
    )
}


Rule = Callable[[Any, Meta, list[Activations]], Activations]


class LayerRules:
    """A functional network, evaluated layer by layer for all tasks together.

    Args:
        model: The network.
        nodes: Its calls of layers, each with a rule.
        parameters: The split of its weights.
    """

    def __init__(
        self, model: keras.Model, nodes: Sequence[tuple[Rule, Any]], parameters: Parameters
    ) -> None:
        self._input = model.inputs[0]
        self._nodes = [
            (rule, node.operation, [id(x) for x in node.arguments.keras_tensors], node.outputs[0])
            for rule, node in nodes
        ]
        self._outputs = [id(x) for x in model.outputs]
        self._structure = model.compute_output_spec(structure_of(model, "input"))
        self._parameters = parameters
        self._convolved = {  # in which precisions
            tf.as_dtype(node.operation.compute_dtype)
            for rule, node in nodes
            if rule is _convolution
        }

    @classmethod
    def of(cls, model: keras.Model, parameters: Parameters) -> "LayerRules | None":
        """The network, if there is a rule for each of its layers; None otherwise."""
        nodes = nodes_of(model)
        if nodes is None or len(model.inputs) != 1:
            return None
        rules = [_rule_for(node) for node in nodes]
        known = [(rule, node) for rule, node in zip(rules, nodes, strict=True) if rule]
        return cls(model, known, parameters) if len(known) == len(nodes) else None

    def serve(self, phi: tf.Tensor | None, x: Any) -> bool:
        """Whether these inputs can be evaluated so, as the network itself takes them."""
        if not tf.is_tensor(x) or x.dtype in (tf.string, tf.bool):
            return False
        if not x.shape[1:].is_compatible_with(self._input.shape):
            return False
        if phi is None or phi.shape[0] is not None:
            return True
        return all(supports_groups(dtype) for dtype in self._convolved)

    def __call__(
        self,
        phi: tf.Tensor | None,
        x: tf.Tensor,
        support_rows: Any,
        counted: tf.Tensor | None = None,
    ) -> Any:
        """The network's outputs, each `[tasks, examples, ...]`; see `TaskNetwork`."""
        stacks: dict[int, tf.Tensor] = {}
        if phi is not None:
            adapted = self._parameters.adapted
            stacks = dict(zip(map(id, adapted), self._parameters.unravel(phi), strict=True))

        def weight(variable: keras.Variable) -> Weight:
            if id(variable) in stacks:
                return Weight(stacks[id(variable)], adapts=True)
            return Weight(tf.convert_to_tensor(variable.value), adapts=False)

        meta = Meta(static_or_dynamic_shape(x)[0], weight, support_rows, counted)
        values = {id(self._input): Activations(tf.cast(x, self._input.dtype), folded=False)}
        for rule, layer, inputs, output in self._nodes:
            given = [_cast(layer, values[key]) for key in inputs]
            with tf.name_scope(layer.name):
                values[id(output)] = rule(layer, meta, given)
        outputs = [meta.unfolded(values[key]) for key in self._outputs]
        return keras.tree.pack_sequence_as(self._structure, outputs)


def _broadcast(x: tf.Tensor, shape: list[Any]) -> tf.Tensor:
    return x if x.shape.as_list() == shape else tf.broadcast_to(x, shape)


def _cast(layer: Any, x: Activations) -> Activations:
    return x._replace(value=_as_computed(layer, x.value))


def _as_computed(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """In the precision in which a layer computes."""
    return tf.cast(x, layer.compute_dtype) if layer.autocast and x.dtype.is_floating else x


def _convolution(layer: keras.layers.Conv2D, meta: Meta, inputs: list[Activations]) -> Activations:
    (x,) = inputs
    kernel = meta.weight(layer.kernel)
    filters = _as_computed(layer, kernel.value)
    strides, padding = list(layer.strides), layer.padding.upper()

    def convolve(images: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(images, filters, strides, padding)

    if not kernel.adapts:  # the tasks are more examples
        z = _as_examples(lambda images: convolve(images, filters), meta.unfolded(x))
        return _activated(layer, _with_bias(layer, meta, Activations(z, folded=False)))
    images = meta.folded(x)
    if supports_groups(filters.dtype):
        z = convolve(images, folded(filters))
    else:
        z = tf.concat(
            [
                by_groups(convolve, task_images, bank)
                for task_images, bank in zip(
                    tf.split(images, meta.tasks, axis=-1), tf.unstack(filters), strict=True
                )
            ],
            axis=-1,
        )
    return _activated(layer, _with_bias(layer, meta, Activations(z, folded=True)))


def _dense(layer: keras.layers.Dense, meta: Meta, inputs: list[Activations]) -> Activations:
    x = meta.unfolded(inputs[0])
    kernel = meta.weight(layer.kernel)
    matrix = _as_computed(layer, kernel.value)
    shape = static_or_dynamic_shape(x)
    if not kernel.adapts:
        z = tf.matmul(tf.reshape(x, [-1, shape[-1]]), matrix)
    else:
        z = _products(tf.reshape(x, [shape[0], -1, shape[-1]]) if len(shape) != 3 else x, matrix)
    if len(shape) != 3 or not kernel.adapts:
        z = tf.reshape(z, [*shape[:-1], layer.units])
    return _activated(layer, _with_bias(layer, meta, Activations(z, folded=False)))


def _products(x: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """`x_t W_t` for each task t; a sum or a scaling where a matrix is a column or a row."""
    if matrices.shape[1] == 1:
        return x * matrices
    if matrices.shape[2] == 1:
        return tf.reduce_sum(x * tf.transpose(matrices, [0, 2, 1]), axis=2, keepdims=True)
    return tf.matmul(x, matrices)


def _normalization(
    layer: TaskBatchNormalization, meta: Meta, inputs: list[Activations]
) -> Activations:
    (x,) = inputs
    z = widened(x.value)
    rank = z.shape.rank
    examples = 0 if x.folded else 1
    axes = list(range(examples, rank - 1))
    gamma = _for_channels(meta, x, layer.gamma, z.dtype) if layer.scale else None
    beta = _for_channels(meta, x, layer.beta, z.dtype) if layer.center else None
    if not layer.fixed and layer.divide:
        shape = [1 if axis in axes else n for axis, n in enumerate(static_or_dynamic_shape(z))]
        gamma = tf.ones(shape, z.dtype) if gamma is None else _broadcast(gamma, shape)
        beta = tf.zeros(shape, z.dtype) if beta is None else _broadcast(beta, shape)
        if meta.counted is not None:
            shares = _shares(meta, x, z)
            z = normalize_by_shares(z, gamma, beta, axes, layer.epsilon, shares)
        elif meta.support_rows is None:
            z = normalize(z, gamma, beta, axes, layer.epsilon)
        else:
            z = normalize_by_first(z, gamma, beta, axes, layer.epsilon, meta.support_rows, examples)
        return x._replace(value=tf.cast(z, layer.compute_dtype))
    if layer.fixed:
        mean, variance = (
            _for_channels(meta, x, v, z.dtype) for v in (layer.moving_mean, layer.moving_variance)
        )
        inverse = tf.math.rsqrt(variance + layer.epsilon)
        scale = inverse if gamma is None else inverse * gamma
        z = (z + (-mean)) * scale
    else:  # only centered
        rows = meta.support_rows
        if meta.counted is not None:
            counted = z * _shares(meta, x, z)
        else:
            counted = z if rows is None else first(z, rows, examples)
        z += -tf.reduce_mean(counted, axes, keepdims=True)
        z = z if gamma is None else z * gamma
    z = z if beta is None else z + beta
    return x._replace(value=tf.cast(z, layer.compute_dtype))


def _shares(meta: Meta, x: Activations, z: tf.Tensor) -> tf.Tensor:
    """The factors of `shares_in_mean`, in the rank and order of activations."""
    shares = shares_in_mean(meta.counted, z.dtype)
    if not x.folded:
        return tf.reshape(shares, [*static_or_dynamic_shape(shares), *[1] * (z.shape.rank - 2)])
    channels = static_or_dynamic_shape(z)[-1] // meta.tasks
    return tf.repeat(tf.transpose(shares), channels, axis=1)[:, None, None]


def _for_channels(
    meta: Meta, x: Activations, variable: keras.Variable, dtype: tf.DType
) -> tf.Tensor:
    """A vector of a layer, one number for each channel, in the rank and order of activations."""
    weight = meta.weight(variable)
    vector = tf.cast(weight.value, dtype)
    size = variable.shape[0]
    if x.folded:
        vector = vector if weight.adapts else tf.tile(vector, [meta.tasks])
        return tf.reshape(vector, [1, 1, 1, -1])
    ones = [1] * (x.value.shape.rank - 2)
    return tf.reshape(vector, [meta.tasks if weight.adapts else 1, *ones, size])


def _with_bias(layer: Any, meta: Meta, x: Activations) -> Activations:
    if not layer.use_bias:
        return x
    weight = meta.weight(layer.bias)
    if x.folded and weight.adapts:
        bias = tf.reshape(_as_computed(layer, weight.value), [-1])
        return x._replace(value=tf.nn.bias_add(x.value, bias))
    return x._replace(value=x.value + _for_channels(meta, x, layer.bias, x.value.dtype))


def _activated(layer: Any, x: Activations) -> Activations:
    activation = layer.activation
    if activation is None or activation is keras.activations.linear:
        return x
    return x._replace(value=activation(x.value))


def _activation(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    return _activated(layer, inputs[0])


def _itself(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    """Layers that treat each number by itself, or each channel of an image."""
    return inputs[0]._replace(value=layer.call(inputs[0].value))


def _each_example(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    """Layers without weights that treat each example by itself: the tasks are more examples."""
    return Activations(_as_examples(layer.call, meta.unfolded(inputs[0])), folded=False)


def _as_examples(compute: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """What `compute` gives for the examples of all tasks as one batch, task by task."""
    tasks, examples, *sizes = static_or_dynamic_shape(x)
    y = compute(tf.reshape(x, [tasks * examples, *sizes]))
    return tf.reshape(y, [tasks, examples, *static_or_dynamic_shape(y)[1:]])


def _pooling(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    return Activations(layer.call(meta.folded(inputs[0])), folded=True)


def _global_pooling(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    (x,) = inputs
    reduce = (
        tf.reduce_mean if isinstance(layer, keras.layers.GlobalAveragePooling2D) else tf.reduce_max
    )
    if not x.folded:
        return Activations(reduce(x.value, [2, 3], keepdims=layer.keepdims), folded=False)
    z = Activations(reduce(x.value, [1, 2], keepdims=True), folded=True)
    if layer.keepdims:
        return z
    return Activations(tf.squeeze(meta.unfolded(z), [2, 3]), folded=False)


def _flatten(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    x = meta.unfolded(inputs[0])
    tasks, examples, *axes = static_or_dynamic_shape(x)
    size = -1 if any(tf.is_tensor(n) for n in axes) else tf.TensorShape(axes).num_elements()
    return Activations(tf.reshape(x, [tasks, examples, size]), folded=False)


def _merge(layer: Any, meta: Meta, inputs: list[Activations]) -> Activations:
    if all(x.folded for x in inputs):
        return Activations(layer.call([x.value for x in inputs]), folded=True)
    return Activations(layer.call([meta.unfolded(x) for x in inputs]), folded=False)


def _rule_for(node: Any) -> Rule | None:
    """The rule for a call of a layer, if it computes just what the rule does."""
    layer, arguments = node.operation, node.arguments
    kind = getattr(layer, "computes_as", type(layer))
    rule = _RULES.get(kind) if type(layer).call is kind.call else None
    takes = keras.tree.flatten((arguments.args, arguments.kwargs))
    inputs = [x for x in takes if isinstance(x, keras.KerasTensor)]
    concrete = [x for x in takes if not isinstance(x, keras.KerasTensor) and x is not None]
    masked = any(has_mask(x) for x in [*inputs, *node.outputs])
    if rule is None or concrete or masked or len(node.outputs) != 1 or "call" in vars(layer):
        return None
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return None
    images = len(inputs[0].shape) == 4
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    activation = getattr(layer, "activation", None)
    fits: dict[Rule, bool] = {
        _convolution: images and last and _is_undilated(layer),
        _pooling: images and last,
        _global_pooling: images and last,
        _flatten: last,
        _normalization: len(inputs[0].shape) > 1
        and getattr(layer, "axis", -1) in (-1, len(inputs[0].shape) - 1),
        _each_example: not _mixes_examples(layer, len(inputs[0].shape)),
        layer_normalization: not getattr(layer, "rms_scaling", False)
        and not _mixes_examples(layer, len(inputs[0].shape)),
        _merge: len({x.shape[1:] for x in inputs}) == 1,
    }
    if activation is not None and activation not in _FOR_EACH_NUMBER:
        return None
    return rule if fits.get(rule, True) else None


def _mixes_examples(layer: Any, rank: int) -> bool:
    """Whether one of the axes along which a layer computes is that of the examples."""
    return not {0, -rank}.isdisjoint(keras.tree.flatten(getattr(layer, "axis", ())))


def _is_undilated(layer: Any) -> bool:
    """Whether a convolution takes neighboring pixels: dilated ones are evaluated otherwise."""
    return all(rate == 1 for rate in getattr(layer, "dilation_rate", ()))


_RULES: dict[type, Rule] = {
    keras.layers.Activation: _activation,
    keras.layers.Add: _merge,
    keras.layers.Average: _merge,
    keras.layers.AveragePooling2D: _pooling,
    keras.layers.Conv2D: _convolution,
    keras.layers.Cropping2D: _each_example,
    keras.layers.Dense: _dense,
    keras.layers.Flatten: _flatten,
    keras.layers.GlobalAveragePooling2D: _global_pooling,
    keras.layers.GlobalMaxPooling2D: _global_pooling,
    keras.layers.LayerNormalization: layer_normalization,
    keras.layers.LeakyReLU: _itself,
    keras.layers.Maximum: _merge,
    keras.layers.MaxPooling2D: _pooling,
    keras.layers.Multiply: _merge,
    keras.layers.Permute: _each_example,
    keras.layers.ReLU: _itself,
    keras.layers.Rescaling: _each_example,
    keras.layers.Reshape: _each_example,
    keras.layers.Subtract: _merge,
    keras.layers.UnitNormalization: _each_example,
    keras.layers.UpSampling2D: _each_example,
    keras.layers.ZeroPadding2D: _each_example,
    TaskBatchNormalization: _normalization,
}
