"""Second derivatives that TensorFlow does not have, or stops in silence.

TensorFlow keeps the derivative of each operation in a registry. What is not there ends in a
`LookupError`; what is there as not differentiable ends in zeros, and a product with the curvature
then loses all that lies before it. This module, and no other, adds to that registry. It does so
once, when the package is imported, and only where TensorFlow has nothing or is wrong: first
derivatives and values stay what they are.

Tested with TensorFlow 2.20 and 2.21. Without the private registry, or where Keras no longer asks
`tf.nn.moments`, second derivatives would be wrong in silence; `self_check` refuses that.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.framework import ops

    _registry: Any = ops.gradient_registry._registry
except (ImportError, AttributeError):  # a private interface of TensorFlow: do without
    _registry = None

try:
    from tensorflow.python.ops import nn_impl

    _stock_moments: Any = nn_impl.moments
except (ImportError, AttributeError):
    nn_impl = _stock_moments = None

_DONE = "_keras_imaml_second_derivatives"  # a module that is loaded again finds its own work

REFUSED = {
    "Dilation2DBackpropFilter": "a morphological dilation (`tf.nn.dilation2d`)",
    "Dilation2DBackpropInput": "a morphological dilation (`tf.nn.dilation2d`)",
    "CropAndResizeGradBoxes": "`tf.image.crop_and_resize`",
    "CropAndResizeGradImage": "`tf.image.crop_and_resize`",
    "FractionalAvgPoolGrad": "`tf.nn.fractional_avg_pool`",
    "FractionalMaxPoolGrad": "`tf.nn.fractional_max_pool`",
    "IgammaGradA": "`tf.math.igamma` for its first argument",
    "MaxPoolGradWithArgmax": "`tf.nn.max_pool_with_argmax`",
    "RandomGammaGrad": "random numbers of a gamma distribution",
}
"""Operations without a second derivative: the type of the gradient, and what leads to it."""

WAY_OUT = (
    "Use another layer or loss in its place, freeze the layers before it (`trainable = False`, or "
    "`adapt` without them), or take an algorithm without second derivatives: "
    "keras_imaml.MAML(first_order=True) or keras_imaml.Reptile()."
)


def _resize_nearest_grad(op: Any, v: tf.Tensor) -> tuple:
    # Linear in what comes back, as are the others: the derivative is the operation itself.
    return _resized(tf.raw_ops.ResizeNearestNeighbor, op, v), None


def _resize_bicubic_grad(op: Any, v: tf.Tensor) -> tuple:
    return _resized(tf.raw_ops.ResizeBicubic, op, v), None


def _resized(operation: Callable[..., Any], op: Any, v: tf.Tensor) -> tf.Tensor:
    return operation(
        images=v,
        size=tf.shape(op.inputs[0])[1:3],
        align_corners=op.get_attr("align_corners"),
        half_pixel_centers=op.get_attr("half_pixel_centers"),
    )


def _scale_and_translate_grad(op: Any, v: tf.Tensor) -> tuple:
    slope, _, scale, translation = op.inputs
    forward = tf.raw_ops.ScaleAndTranslate(
        images=v,
        size=tf.shape(slope)[1:3],
        scale=scale,
        translation=translation,
        kernel_type=op.get_attr("kernel_type"),
        antialias=op.get_attr("antialias"),
    )
    return forward, None, None, None


def _softsign_grad(op: Any, v: tf.Tensor) -> tuple:
    """`dy / (1 + |x|)^2`."""
    dy, x = op.inputs
    wide = 1 + tf.abs(x)
    return v / tf.square(wide), -2 * v * dy * tf.sign(x) / wide**3


def _lrn_grad(op: Any, v: tf.Tensor) -> tuple:
    """With `n = bias + alpha W x^2`, W the sum over the channels around:

    `dy n^-beta - 2 alpha beta x W (dy x n^(-beta - 1))`.
    """
    dy, x, _ = op.inputs  # the third is a function of x
    alpha, beta = op.get_attr("alpha"), op.get_attr("beta")
    channels = tf.shape(x)[-1]
    radius = tf.cast(op.get_attr("depth_radius"), channels.dtype)
    around = tf.linalg.band_part(tf.ones([channels, channels], x.dtype), radius, radius)
    with tf.GradientTape() as tape:
        tape.watch([dy, x])
        n = op.get_attr("bias") + alpha * tf.einsum("bhwc,cd->bhwd", tf.square(x), around)
        spread = tf.einsum("bhwc,cd->bhwd", dy * x * n ** (-beta - 1), around)
        dx = dy * n**-beta - 2 * alpha * beta * x * spread
    return (*tape.gradient(dx, [dy, x], output_gradients=v), None)


def _segment_grad(reduced: Callable[..., Any]) -> Callable[..., tuple]:
    def gradient(op: Any, v: tf.Tensor) -> tuple:
        slope, indices, segments, _ = op.inputs
        cotangent = reduced(
            data=v, indices=indices, segment_ids=segments, num_segments=tf.shape(slope)[0]
        )
        return cotangent, None, None, None

    return gradient


def _sparse_segment_grad(reduced: Callable[..., Any]) -> Callable[..., tuple]:
    """As above, for the rows alone that take part, in the order of their indices."""

    def gradient(op: Any, v: tf.Tensor, _: Any) -> tuple:
        slope, indices, segments, _ = op.inputs
        cotangent = reduced(
            data=v,
            indices=tf.searchsorted(op.outputs[1], indices),
            segment_ids=segments,
            num_segments=tf.shape(slope)[0],
        )
        return cotangent, None, None, None

    return gradient


MISSING: dict[str, Callable[..., Any]] = {
    "ResizeNearestNeighborGrad": _resize_nearest_grad,
    "ResizeBicubicGrad": _resize_bicubic_grad,
    "ScaleAndTranslateGrad": _scale_and_translate_grad,
    "SoftsignGrad": _softsign_grad,
    "LRNGrad": _lrn_grad,
    "SparseSegmentSumGrad": _segment_grad(tf.raw_ops.SparseSegmentSumWithNumSegments),
    "SparseSegmentMeanGrad": _segment_grad(tf.raw_ops.SparseSegmentMeanWithNumSegments),
    "SparseSegmentSqrtNGrad": _segment_grad(tf.raw_ops.SparseSegmentSqrtNWithNumSegments),
    "SparseSegmentSumGradV2": _sparse_segment_grad(tf.raw_ops.SparseSegmentSumWithNumSegments),
    "SparseSegmentMeanGradV2": _sparse_segment_grad(tf.raw_ops.SparseSegmentMeanWithNumSegments),
    "SparseSegmentSqrtNGradV2": _sparse_segment_grad(tf.raw_ops.SparseSegmentSqrtNWithNumSegments),
}
"""The derivatives of gradients that TensorFlow has no derivative of."""


def _resize_bilinear(stock: Callable[..., Any], op: Any, dy: tf.Tensor) -> list[Any]:
    dy = tf.convert_to_tensor(dy)  # a gather gives slices

    @tf.custom_gradient
    def back(dy: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def forward(v: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ResizeBilinear(
                images=v,
                size=tf.shape(dy)[1:3],
                align_corners=op.get_attr("align_corners"),
                half_pixel_centers=op.get_attr("half_pixel_centers"),
            )

        return stock(op, dy)[0], forward

    return [back(dy), None]


def _fake_quant_of_range(stock: Callable[..., Any], op: Any, dy: tf.Tensor) -> Any:
    dy = tf.convert_to_tensor(dy)  # a gather gives slices
    inside = stock(op, tf.ones_like(dy))

    @tf.custom_gradient
    def back(dy: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        return stock(op, dy), lambda v: inside * v

    return back(dy)


def _fake_quant(stock: Callable[..., Any], op: Any, dy: tf.Tensor) -> tuple:
    """What is inside of the range goes to x, what is below to its minimum, the rest to the other.

    The straight-through rule is a convention: this is what follows from it.
    """
    x, low, high = op.inputs
    dy = tf.convert_to_tensor(dy)  # a gather gives slices
    inside = stock(op, tf.ones_like(dy))[0]
    below = tf.where(x < (low + high) / 2, 1 - inside, tf.zeros_like(inside))

    @tf.custom_gradient
    def back(dy: tf.Tensor) -> tuple[tuple, Callable[..., Any]]:
        def forward(v: tf.Tensor, for_low: tf.Tensor, for_high: tf.Tensor) -> tf.Tensor:
            return inside * v + below * for_low + (1 - inside - below) * for_high

        return tuple(stock(op, dy)), forward

    return back(dy)


STOPPED: dict[str, tuple[str, Callable[..., Any]]] = {
    "ResizeBilinear": ("ResizeBilinearGrad", _resize_bilinear),
    "FakeQuantWithMinMaxArgs": ("FakeQuantWithMinMaxArgsGradient", _fake_quant_of_range),
    "FakeQuantWithMinMaxVars": ("FakeQuantWithMinMaxVarsGradient", _fake_quant),
    "FakeQuantWithMinMaxVarsPerChannel": (
        "FakeQuantWithMinMaxVarsPerChannelGradient",
        _fake_quant,
    ),
}
"""Operations whose gradients count as not differentiable, and a rule around the stock gradient.

To register a derivative of the gradient would not do: executing eagerly, TensorFlow does not keep
the inputs of what it takes to be not differentiable.
"""


def _softmax_cross_entropy(
    stock: Callable[..., Any], op: Any, for_loss: tf.Tensor, for_slope: Any
) -> tuple:
    """The slope for the logits is `softmax - labels`: stock forgets that it depends on labels."""
    of_logits, of_labels = stock(op, for_loss, for_slope)
    return of_logits, of_labels if for_slope is None else of_labels - for_slope


def _max_pool_grad(pooled_at_maxima: Callable[..., Any]) -> Callable[..., tuple]:
    """The derivative takes from `v` what stands where the maxima of `x` are.

    In a graph, TensorFlow writes it into the memory of `v` if both have one shape, and what it has
    written it reads again where windows overlap. Padding makes two shapes of them.
    """

    def gradient(stock: Callable[..., Any], op: Any, v: tf.Tensor) -> tuple:
        x, y, _ = op.inputs
        if op.get_attr("padding") != b"SAME" or not x.shape.is_compatible_with(y.shape):
            return stock(op, v)
        ksize, strides = op.get_attr("ksize"), op.get_attr("strides")
        sizes = [tf.shape(x)[axis] if size is None else size for axis, size in enumerate(x.shape)]
        totals = [
            tf.maximum((-(-n // stride) - 1) * stride + k - n, 0)
            for n, k, stride in zip(sizes, ksize, strides, strict=True)
        ]
        paddings = tf.stack([(total // 2, total - total // 2) for total in totals])
        for_v = pooled_at_maxima(
            orig_input=tf.pad(x, paddings, constant_values=x.dtype.min),
            orig_output=y,
            grad=tf.pad(v, paddings),
            ksize=ksize,
            strides=strides,
            padding="VALID",
            data_format=op.get_attr("data_format").decode(),
        )
        return tf.zeros_like(x), tf.zeros_like(y), for_v

    return gradient


CORRECTED: dict[str, Callable[..., Any]] = {
    "MaxPoolGrad": _max_pool_grad(tf.raw_ops.MaxPoolGradGrad),
    "MaxPool3DGrad": _max_pool_grad(tf.raw_ops.MaxPool3DGradGrad),
    "SoftmaxCrossEntropyWithLogits": _softmax_cross_entropy,
}
"""Operations whose stock derivative loses a part or is wrong, and a rule around it."""


@contextlib.contextmanager
def exact_moments() -> Iterator[None]:
    """Replace `tf.nn.moments` by one with exact derivatives while a network is traced.

    It puts a `stop_gradient` on the mean inside the variance. That leaves the first derivative as
    it is and makes the second one wrong: Hessian-vector products of LayerNormalization are off by
    half, silently. Keras looks the function up at each call, so LayerNormalization,
    GroupNormalization and everything else that is built on it becomes exact. So do modules that
    imported the function by its name. The values are the same.
    """
    with _replaced, _replaced_by_name:
        yield


def moments(
    x: Any,
    axes: Any,
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.nn.moments` without the `stop_gradient` that spoils second derivatives."""
    keepdims = bool(keep_dims if keepdims is None else keepdims)
    x = tf.convert_to_tensor(x)
    wide = tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x
    mean = tf.reduce_mean(wide, axis=axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(wide - mean), axis=axes, keepdims=keepdims)
    mean = mean if keepdims else tf.squeeze(mean, axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def _refuse(kind: str) -> Callable[..., Any]:
    def gradient(op: Any, *slopes: Any) -> Any:
        raise NotImplementedError(
            f"The network or its loss uses {REFUSED[kind]}, which has no second derivative in "
            f"TensorFlow. {WAY_OUT} Received: an operation {kind}"
        )

    return gradient


def _complete(registry: dict[str, Any]) -> None:
    added = {**MISSING, **{kind: _refuse(kind) for kind in REFUSED}}
    for kind, gradient in added.items():
        if kind not in registry:
            tf.RegisterGradient(kind)(gradient)
    for kind, (stopped, rule) in STOPPED.items():
        entry = registry.get(kind)
        if entry is not None and registry.get(stopped, {"type": 0})["type"] is None:
            registry[kind] = {**entry, "type": functools.partial(rule, entry["type"])}
    for kind, rule in CORRECTED.items():
        if kind in registry:
            entry = registry[kind]
            registry[kind] = {**entry, "type": functools.partial(rule, entry["type"])}


if _registry is not None and not hasattr(ops, _DONE):
    _complete(_registry)
    setattr(ops, _DONE, True)

_replaced = Replacement(
    lambda function: setattr(tf.nn, "moments", function), moments, tf.nn.moments
)
_replaced_by_name = Replacement(
    lambda function: setattr(nn_impl, "moments", function), moments, _stock_moments
)
