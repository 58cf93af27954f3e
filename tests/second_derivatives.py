"""Every differentiable operation that Keras emits on TensorFlow, and what of its curvature is had.

The list from which the tests, and the tables of docs/second-derivatives.md, are made:

    python -m tests.second_derivatives
"""

import functools
import inspect
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

PIXELS = (2, 4, 4, 3)
SERIES = (2, 5, 3)
ROWS = (3, 4)


class Case(NamedTuple):
    """A function of one tensor.

    Attributes:
        name: What users call it.
        shape: Of the tensor.
        build: Makes the function.
        single: Whether it computes in float32, whatever comes in.
        least: The least of the numbers that come in; all are between it and the most.
        most: See `least`.
    """

    name: str
    shape: tuple[int, ...]
    build: Callable[[], Callable[[tf.Tensor], Any]]
    single: bool = False
    least: float = 0.1
    most: float = 0.9


def input_of(case: Case) -> tf.Tensor:
    """Numbers of which no two are near one another, so that no maximum has a tie."""
    size = int(np.prod(case.shape))
    grid = np.linspace(case.least, case.most, size)
    return tf.constant(np.random.default_rng(1).permutation(grid).reshape(case.shape))


def relative_error(case: Case, compiled: bool) -> float:
    """How far a product with the curvature is from a difference of gradients."""
    function, x = case.build(), input_of(case)
    random = np.random.default_rng(0)
    v = tf.constant(random.normal(size=case.shape))
    weights = [
        tf.constant(random.normal(size=part.shape))
        for part in tf.nest.flatten(function(tf.identity(x)))
    ]

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = [tf.cast(part, x.dtype) for part in tf.nest.flatten(function(x * x))]
            loss = tf.add_n(
                [tf.reduce_sum(w * tf.sin(part)) for w, part in zip(weights, outputs, strict=True)]
            )
        slope = tape.gradient(loss, x)
        return None if slope is None else tf.convert_to_tensor(slope)

    def product(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            slope = gradient(x)
        bend = tape.gradient(slope, x, output_gradients=v, unconnected_gradients="zero")
        return tf.convert_to_tensor(bend)

    step = 1e-2 if case.single else 1e-6
    if gradient(x) is None:
        raise ValueError(f"{case.name} has no first derivative")
    differences = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    product_at_x = (tf.function(product, autograph=False) if compiled else product)(x)
    return float(tf.norm(product_at_x - differences) / (tf.norm(differences) + 1e-9))


def _resized(interpolation: str, **options: Any) -> Callable[[], Any]:
    return lambda: lambda x: ops.image.resize(_single(x), (6, 5), interpolation, **options)


def _single(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)


def _segments(reduced: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: lambda x: reduced(x, tf.constant([0, 2, 1, 2]), tf.constant([0, 0, 1, 1]))


def _looked_up(combiner: str) -> Callable[[], Any]:
    def build() -> Any:
        rows = tf.sparse.from_dense([[1, 2], [0, 1]])
        return lambda x: tf.nn.embedding_lookup_sparse(x, rows, None, combiner=combiner)

    return build


def _layer(name: str, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Case:
    call = ", ".join([*map(str, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    single = bool({"bilinear", "bicubic", "lanczos5"} & {*kwargs.values()}) or "3D" in name
    dtype = "float32" if single else "float64"
    cast = _single if single else tf.identity

    def build() -> Any:
        layer = getattr(layers, name)(*args, **kwargs, dtype=dtype)
        return lambda x: layer(cast(x))

    return Case(f"{name}({call})", shape, build, single)


def _local_response_normalization(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.local_response_normalization(_single(x), 1, 1.0, 0.5, 0.75)


_moments = tf.nn.moments  # as a module has it that imported the function by its name

# What TensorFlow lacks, stops or gets wrong, and this package adds.
ADDED = [
    Case("softsign", ROWS, lambda: lambda x: ops.softsign(2 * x - 1)),
    Case("image.resize, bilinear", PIXELS, _resized("bilinear"), single=True),
    Case("image.resize, nearest", PIXELS, _resized("nearest"), single=True),
    Case("image.resize, bicubic", PIXELS, _resized("bicubic"), single=True),
    Case("image.resize, lanczos3", PIXELS, _resized("lanczos3"), single=True),
    Case("image.resize, antialias", PIXELS, _resized("bilinear", antialias=True), single=True),
    _layer("UpSampling2D", PIXELS, interpolation="bilinear"),
    _layer("UpSampling2D", PIXELS, interpolation="bicubic"),
    _layer("UpSampling2D", PIXELS, interpolation="nearest"),
    _layer("Resizing", PIXELS, 3, 6, interpolation="bilinear"),
    Case(
        "tf.nn.local_response_normalization",
        PIXELS,
        lambda: _local_response_normalization,
        single=True,
    ),
    Case("tf.sparse.segment_sum", ROWS, _segments(tf.sparse.segment_sum)),
    Case("tf.sparse.segment_mean", ROWS, _segments(tf.sparse.segment_mean)),
    Case("tf.sparse.segment_sqrt_n", ROWS, _segments(tf.sparse.segment_sqrt_n)),
    Case("tf.nn.embedding_lookup_sparse, sum", ROWS, _looked_up("sum")),
    Case("tf.nn.embedding_lookup_sparse, mean", ROWS, _looked_up("mean")),
    Case("tf.nn.embedding_lookup_sparse, sqrtn", ROWS, _looked_up("sqrtn")),
    Case("tf.nn.moments", ROWS, lambda: lambda x: tf.nn.moments(x, [1])),
    Case("tf.nn.moments, imported by name", ROWS, lambda: lambda x: _moments(x, [1])),
    _layer("MaxPooling1D", SERIES, 3, strides=1, padding="same"),
    _layer("MaxPooling2D", PIXELS, 3, strides=1, padding="same"),
    _layer("MaxPooling2D", (1, 5, 1, 2), 3, strides=(1, 2), padding="same"),
    _layer("MaxPooling3D", (1, 2, 2, 2, 2), 2, strides=1, padding="same"),
]

_TARGETS = {
    "sparse_categorical_crossentropy": lambda: tf.constant([0, 1, 3]),
    "categorical_generalized_cross_entropy": lambda: tf.constant([0, 1, 3]),
    "circle": lambda: tf.constant([0, 0, 1, 1]),
}


def _of_module(name: str, call: Callable[..., Any]) -> list[Case]:
    """Every function of a module of Keras, but those that read and write them, and CTC."""
    functions = inspect.getmembers(getattr(keras, name), inspect.isfunction)
    omitted_names = ("deserialize", "get", "serialize", "ctc")
    return [
        Case(f"{name}.{key}", ROWS, functools.partial(call, key, function))
        for key, function in functions
        if key not in omitted_names
    ]


_SETTINGS = {
    "categorical_generalized_cross_entropy": {"q": 0.5},
    "threshold": {"threshold": 0.1, "default_value": 0.0},
}


def _activation(name: str, function: Callable[..., Any]) -> Any:
    return lambda x: function(2 * x - 0.7, **_SETTINGS.get(name, {}))


def _loss(name: str, function: Callable[..., Any]) -> Any:
    targets = tf.constant(np.random.default_rng(3).uniform(0.2, 0.8, ROWS))
    y = _TARGETS.get(name, lambda: targets)()
    extra_rows = tf.shape(y)[0] - ROWS[0]  # a loss of pairs takes two of each class
    return lambda x: function(
        y, tf.concat([x, ops.sin(3 * x[:extra_rows])], 0), **_SETTINGS.get(name, {})
    )


def _attention(name: str, *arguments: int) -> Case:
    def build() -> Any:
        layer = getattr(layers, name)(*arguments, dtype="float64")
        listed = name in ("Attention", "AdditiveAttention")
        return lambda x: layer([x, x]) if listed else layer(x, x)

    return Case(f"{name}({', '.join(map(str, arguments))})", SERIES, build)


def _op(name: str, function: Callable[[tf.Tensor], Any], shape: tuple[int, ...] = ROWS) -> Case:
    return Case(f"ops.{name}", shape, lambda: function)


def _definite(x: tf.Tensor) -> tf.Tensor:
    return x @ tf.transpose(x) + tf.eye(3, dtype=x.dtype)


VOLUME, SQUARE = (1, 4, 4, 4, 2), (3, 3)

# What TensorFlow has, by kinds of Keras: all activations and losses, the layers, and operations.
KERAS = [
    *_of_module("activations", _activation),
    *_of_module("losses", _loss),
    *(
        _layer(f"{kind}{name}", shape, 2, 2)
        for kind in ("Conv1D", "Conv2D", "Conv3D")
        for name in ("", "Transpose")
        for shape in [{"1": SERIES, "2": PIXELS, "3": VOLUME}[kind[-2]]]
    ),
    *(
        _layer(name, {"1": SERIES, "2": PIXELS, "3": VOLUME}[name[-2]], 2)
        for name in (
            *("DepthwiseConv1D", "DepthwiseConv2D", "MaxPooling1D", "MaxPooling2D"),
            *("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"),
            *("AdaptiveMaxPooling2D", "AdaptiveAveragePooling2D", "UpSampling1D", "UpSampling3D"),
        )
    ),
    _layer("MaxPooling3D", (1, 2, 2, 2, 2), 2),  # far apart: a step must not change a maximum
    _layer("SeparableConv1D", SERIES, 2, 2),
    _layer("SeparableConv2D", PIXELS, 2, 2),
    *(
        _layer(name, PIXELS)
        for name in (
            *("GlobalMaxPooling2D", "GlobalAveragePooling2D", "ZeroPadding2D", "Cropping2D"),
            *("BatchNormalization", "LayerNormalization", "RMSNormalization"),
            *("UnitNormalization", "PReLU", "Softmax"),
        )
    ),
    _layer("GroupNormalization", PIXELS, 3),
    *(_layer(name, SERIES, 2) for name in ("LSTM", "GRU", "SimpleRNN", "Dense")),
    _layer("ConvLSTM2D", (1, 2, 4, 4, 2), 2, 2),
    _layer("EinsumDense", ROWS, "ab,bc->ac", 2),
    _attention("MultiHeadAttention", 2, 3),
    _attention("GroupQueryAttention", 3, 2, 1),
    _attention("Attention"),
    _attention("AdditiveAttention"),
    _op("add", lambda x: ops.add(x, x * x)),
    _op("cond", lambda x: ops.cond(ops.sum(x) > 0, lambda: x * x, lambda: x)),
    _op("cumprod", lambda x: ops.cumprod(x, 1)),
    _op("cholesky", lambda x: ops.cholesky(_definite(x)), SQUARE),
    _op("depth_to_space", lambda x: ops.depth_to_space(x, 2), (1, 2, 2, 4)),
    _op("det", ops.det, SQUARE),
    _op("dot_product_attention", lambda x: ops.dot_product_attention(x, x, x), (1, 3, 2, 2)),
    _op("eigh", lambda x: ops.eigh(_definite(x))[0], SQUARE),
    _op("einsum", lambda x: ops.einsum("ab,cb->ac", x, x)),
    _op("erfinv", ops.erfinv),
    _op("fft", lambda x: ops.fft((x, x))[0]),
    _op("fori_loop", lambda x: ops.fori_loop(0, 3, lambda _, y: ops.sin(y), x)),
    _op("image.elastic_transform", lambda x: ops.image.elastic_transform(x, seed=1), PIXELS),
    _op("image.extract_patches", lambda x: ops.image.extract_patches(x, 2), PIXELS),
    _op("image.gaussian_blur", lambda x: ops.image.gaussian_blur(x, (3, 3)), PIXELS),
    _op("image.map_coordinates", lambda x: ops.image.map_coordinates(x, x[:2] * 2, 1)),
    _op("image.rgb_to_hsv", ops.image.rgb_to_hsv, PIXELS),
    _op("inv", lambda x: ops.inv(_definite(x)), SQUARE),
    _op("irfft", lambda x: ops.irfft((x, x))),
    _op("logsumexp", lambda x: ops.logsumexp(x, 1)),
    _op("lstsq", lambda x: ops.lstsq(x, ops.ones((4, 1), x.dtype)), (4, 3)),
    _op("matmul", lambda x: ops.matmul(x, ops.transpose(x))),
    _op("max", lambda x: ops.max(x, 1)),
    _op("median", lambda x: ops.median(x, 1)),
    _op("moments", lambda x: ops.moments(x, [1])),
    _op("norm", ops.norm),
    _op("power", lambda x: ops.power(x, 2 * x)),
    _op("qr", lambda x: ops.qr(x)[1], SQUARE),
    _op("scan", lambda x: ops.scan(lambda a, b: (a * b, a + b), x[0], x)[1]),
    _op("scatter", lambda x: ops.scatter([[0], [2], [0]], x, (4, 4))),
    _op("slogdet", lambda x: ops.slogdet(_definite(x))[1], SQUARE),
    _op("solve", lambda x: ops.solve(_definite(x), x), SQUARE),
    _op("sort", ops.sort),
    _op("std", lambda x: ops.std(x, 1)),
    _op("svd", lambda x: ops.svd(x, compute_uv=False), SQUARE),
    _op("take", lambda x: ops.take(x, [0, 2, 2], axis=0)),
    _op("top_k", lambda x: ops.top_k(x, 2)[0]),
    _op("vectorized_map", lambda x: ops.vectorized_map(lambda row: row * row, x)),
    _op("where", lambda x: ops.where(x > 0.5, x * x, x)),
]

# What has no second derivative: a name, a function of images (None: a loss), what the error says.
REFUSED = [
    ("losses.ctc", None, "second derivative"),
    (
        "tf.nn.max_pool_with_argmax",
        lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, "VALID")[0],
        "max_pool_with_argmax",
    ),
    (
        "tf.nn.fractional_max_pool",
        lambda x: tf.nn.fractional_max_pool(x, 1.5)[0],
        "fractional_max_pool",
    ),
    (
        "tf.nn.fractional_avg_pool",
        lambda x: tf.nn.fractional_avg_pool(x, [1, 1.5, 1.5, 1])[0],
        "fractional_avg_pool",
    ),
    (
        "tf.nn.dilation2d",
        lambda x: tf.nn.dilation2d(x, tf.ones([2, 2, 3]), [1] * 4, "VALID", "NHWC", [1] * 4),
        "dilation2d",
    ),
    (
        "tf.image.crop_and_resize",
        lambda x: tf.image.crop_and_resize(x, [[0.0, 0, 1, 1]], [0], [3, 3]),
        "crop_and_resize",
    ),
    ("tf.math.igamma, first argument", lambda x: tf.math.igamma(x, 0.5), "igamma"),
    (
        "tf.random.stateless_gamma, alpha",
        lambda x: tf.random.stateless_gamma(x.shape, [0, 1], x),
        "gamma distribution",
    ),
]

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "second-derivatives.md"
_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"


def tables() -> str:
    """What is exact, by whom, and what is refused."""
    rows = [(case.name, "exact", "this package") for case in ADDED]
    rows += [("tf.quantization.fake_quant_*", "exact, straight through", "this package")]
    rows += [(case.name, "exact", "TensorFlow") for case in KERAS]
    rows += [(name, "refused by name", "") for name, _, _ in REFUSED]
    lines = [f"| `{name}` | {derivative} | {origin} |" for name, derivative, origin in rows]
    return "\n".join(["| operation | second derivative | by |", "|---|---|---|", *lines])


def replaced(text: str) -> str:
    """A page with the tables of now between its marks."""
    before, _, remainder = text.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{tables()}\n\n{_END}{remainder.partition(_END)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
