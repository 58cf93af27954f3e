"""Whether second derivatives of a function belong to its first ones, at one point, without a graph.

Reverse mode gives `J v` as the derivative of `u -> J' u`. A function whose gradient cannot be
differentiated loses it in silence, and then `<u, J v> = <J' u, v>` does not hold. That test needs
no step, so that kinks, rounding and straight-through gradients do not matter.

What a function bends by is compared with differences of its gradient, entry by entry: a kink of a
ReLU changes few entries, a derivative that is left out changes most.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_imaml._utils.vectors import rounding

Function = Callable[[list[tf.Tensor]], Any]
"""From tensors of floating point to a tensor, or a structure of tensors."""

_ZERO = tf.UnconnectedGradients.ZERO
# Relative to the size of each tensor.
_STEPS = {"float32": 1e-2, "float64": 1e-3}
_AWAY = 0.1
_TRIALS = 3


def transpose_error(function: Function, x: Sequence[tf.Tensor]) -> float:
    """How far `<u, J v>` is from `<J' u, v>`, for random u and v; 0 to rounding if all is well.

    Args:
        function: What is differentiated.
        x: Where.
    """
    v = _directions(x, 0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = _floating(function(list(x)))
    u = _normal(outputs, 1)
    pulled, image = _pulled_and_pushed(tape, outputs, list(x), u, v)
    left, right = _dot(u, image), _dot(pulled, v)
    scale = max(abs(left), abs(right), _dot(image, image) ** 0.5)
    return abs(left - right) / scale if scale else 0.0


def bends_otherwise(function: Function, x: Sequence[tf.Tensor]) -> bool:
    """Whether products with second derivatives differ from differences of the first ones.

    Near several points, two steps have to agree that they do, in most entries of a tensor. Where
    differences of values do not have the first derivative either (a straight-through gradient),
    nothing is compared.

    Args:
        function: What is differentiated.
        x: Where, about.
    """
    return all(_bends_otherwise(function, list(x), trial) for trial in range(_TRIALS))


def _bends_otherwise(function: Function, x: list[tf.Tensor], trial: int) -> bool:
    # Activations are often zero, where those of the next layer may have a kink.
    x = _shifted(x, _directions(x, 4 * trial), _AWAY)
    v = _directions(x, 4 * trial + 1)
    step = _STEPS.get(x[0].dtype.name, 1e-2)
    with tf.GradientTape(persistent=True) as second:
        second.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = _floating(function(x))
        u = _normal(outputs, 4 * trial + 2)
        slope, image = _pulled_and_pushed(tape, outputs, x, u, v)
    product = _dense(second.gradient(slope, x, v, _ZERO), x)

    def moved(size: float) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Differences of the outputs and of their slope, over a step to both sides."""
        ends = [_values_and_slope(function, _shifted(x, v, sign * size), u) for sign in (1, -1)]
        (forward, rise), (backward, fall) = ends
        return _over(forward, backward, 2 * size), _over(rise, fall, 2 * size)

    (far_values, of_long), (near_values, of_short) = moved(step), moved(step / 3)
    if _most_differ(image, far_values, near_values, outputs, step):
        return False
    return _most_differ(product, of_long, of_short, slope, step)


def _most_differ(
    products: Sequence[tf.Tensor],
    of_long: Sequence[tf.Tensor],
    of_short: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
    step: float,
) -> bool:
    """Whether most entries of a tensor are none of what both steps say; `values` round off."""
    for product, long, short, value in zip(products, of_long, of_short, values, strict=True):
        noise = 50 * rounding(product.dtype) / step * tf.reduce_max(tf.abs(value))
        allowed = 0.1 * tf.abs(short) + 8 * tf.abs(long - short) + noise
        differ = tf.math.count_nonzero(tf.abs(product - short) > allowed)
        compared = tf.math.count_nonzero(tf.abs(short) + tf.abs(product) > noise)
        if int(differ) > max(int(compared) / 2, int(tf.size(product)) / 4):
            return True
    return False


def _pulled_and_pushed(
    tape: tf.GradientTape, outputs: Any, x: Any, u: Any, v: Any
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """`J' u` and `J v`."""
    with tf.GradientTape() as transpose:
        transpose.watch(u)
        pulled = _dense(tape.gradient(outputs, x, u, _ZERO), x)
    return pulled, _dense(transpose.gradient(pulled, u, v, _ZERO), u)


def _values_and_slope(
    function: Function, x: list[tf.Tensor], u: list[tf.Tensor]
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = _floating(function(x))
    return outputs, _dense(tape.gradient(outputs, x, u, _ZERO), x)


def _directions(x: Sequence[tf.Tensor], seed: int) -> list[tf.Tensor]:
    """Random directions, each about as long as its tensor; those of zeros have entries near 1."""
    sizes = [tf.sqrt(tf.reduce_mean(tf.square(part))) for part in x]
    pairs = zip(_normal(x, seed), sizes, strict=True)
    return [v * tf.where(size > 0, size, tf.ones_like(size)) for v, size in pairs]


def _normal(like: Sequence[tf.Tensor], seed: int) -> list[tf.Tensor]:
    return [
        tf.random.stateless_normal(tf.shape(part), [seed, number], dtype=part.dtype)
        for number, part in enumerate(like)
    ]


def _floating(outputs: Any) -> list[tf.Tensor]:
    return [part for part in tf.nest.flatten(outputs) if part.dtype.is_floating]


def _dense(gradients: Any, like: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [
        tf.cast(tf.convert_to_tensor(g), part.dtype)
        for g, part in zip(gradients, like, strict=True)
    ]


def _shifted(x: Sequence[Any], v: Sequence[Any], size: float) -> list[tf.Tensor]:
    return [part + size * direction for part, direction in zip(x, v, strict=True)]


def _over(forward: Sequence[Any], backward: Sequence[Any], size: float) -> list[tf.Tensor]:
    return [(a - b) / size for a, b in zip(forward, backward, strict=True)]


def _dot(a: Sequence[tf.Tensor], b: Sequence[tf.Tensor]) -> float:
    return sum(float(tf.reduce_sum(x * y)) for x, y in zip(a, b, strict=True))
