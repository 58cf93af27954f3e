"""Every differentiable operation that Keras emits on TensorFlow, and what of its curvature is had.

The list from which the tests, and the tables of docs/second-derivatives.md, are made:

    python -m tests.second_derivatives
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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
        bent = tape.gradient(slope, x, output_gradients=v, unconnected_gradients="zero")
        return tf.convert_to_tensor(bent)

    step = 1e-2 if case.single else 1e-6
    if gradient(x) is None:
        raise ValueError(f"{case.name} has no first derivative")
    differences = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    found = (tf.function(product, autograph=False) if compiled else product)(x)
    return float(tf.norm(found - differences) / (tf.norm(differences) + 1e-9))


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
    said = ", ".join([*map(str, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    single = bool({"bilinear", "bicubic", "lanczos5"} & {*kwargs.values()}) or "3D" in name
    dtype = "float32" if single else "float64"
    cast = _single if single else tf.identity

    def build() -> Any:
        layer = getattr(layers, name)(*args, **kwargs, dtype=dtype)
        return lambda x: layer(cast(x))

    return Case(f"{name}({said})", shape, build, single)


def _local_response_normalization(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.local_response_normalization(_single(x), 1, 1.0, 0.5, 0.75)


_moments = tf.nn.moments  # as a module has it that imported the function by its name

# What TensorFlow lacks or stops, and this package adds.
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
]
