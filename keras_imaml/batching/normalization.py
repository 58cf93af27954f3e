"""Normalization by the examples at hand, with derivatives in closed form.

TensorFlow differentiates the formula of batch normalization operation by operation: 40 operations
for the second derivative, each a pass over the activations. Here the first derivative is one
expression and its own derivative another, both exact.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_FUSED_EPSILON = 1.001e-5  # the least that cuDNN takes


def normalize(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, axes: Sequence[int], epsilon: float
) -> tf.Tensor:
    """`gamma (x - mean) / sqrt(variance + epsilon) + beta`.

    Args:
        x: Activations.
        gamma: Scale; of the shape of `x`, with ones in the place of `axes`.
        beta: Offset; of the same shape.
        axes: The axes over which mean and variance are taken.
        epsilon: Added to the variance.
    """
    # The kernels of TensorFlow serve what has its channels last and is normalized over the rest.
    fused = x.dtype == tf.float32 and list(axes) == [0, 1, 2] and x.shape.rank == 4
    if fused and epsilon >= _FUSED_EPSILON:
        return _fused(x, gamma, beta, epsilon)
    return _composed(x, gamma, beta, tuple(axes), epsilon)


def widened(x: tf.Tensor) -> tf.Tensor:
    """Activations for statistics: those of half precision in float32."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x


def standardize(x: tf.Tensor, axes: Sequence[int], epsilon: float) -> tf.Tensor:
    """`(x - mean) / sqrt(variance + epsilon)`, of means over `axes`."""

    @tf.custom_gradient
    def forward(x: tf.Tensor) -> tuple:
        unit, inverse = _unit(x, tuple(axes), epsilon)

        def gradient(dy: Any) -> tf.Tensor:
            dy = tf.convert_to_tensor(dy)  # a gather gives slices
            gamma = tf.ones_like(inverse)  # of the shape of its derivative
            return _backward(dy, x, gamma, tuple(axes), epsilon, known=(unit, inverse))[0]

        return unit, gradient

    return forward(x)


def first(x: tf.Tensor, rows: int | tf.Tensor, axis: int) -> tf.Tensor:
    """The first `rows` entries along an axis."""
    return x[(slice(None),) * axis + (slice(rows),)]


def normalize_by_first(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    axes: Sequence[int],
    epsilon: float,
    rows: int | tf.Tensor,
    axis: int,
) -> tf.Tensor:
    """As `normalize`, by the mean and variance of the first `rows` entries along an axis alone.

    With the normalized activations h, the inverse standard deviation r, and sums over all entries
    of which the first M give the statistics:

        dx = gamma r dy, less gamma r (sum dy + h sum dy h) / M for the first.
    """

    def others(z: tf.Tensor) -> tf.Tensor:
        return z[(slice(None),) * axis + (slice(rows, None),)]

    @tf.custom_gradient
    def forward(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
        counted = first(x, rows, axis)
        mean = tf.reduce_mean(counted, axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(counted + (-mean)), axes, keepdims=True)
        inverse = tf.math.rsqrt(variance + epsilon)
        unit = (x + (-mean)) * inverse

        def gradient(dy: Any) -> tuple[tf.Tensor, ...]:
            dy = tf.convert_to_tensor(dy)  # a gather gives slices
            for_gamma = tf.reduce_sum(dy * unit, axes, keepdims=True)
            for_beta = tf.reduce_sum(dy, axes, keepdims=True)
            count = _count(counted, tuple(axes))
            scale = gamma * inverse
            dx = scale * dy
            correction = (scale / count) * (for_beta + first(unit, rows, axis) * for_gamma)
            return (
                tf.concat([first(dx, rows, axis) - correction, others(dx)], axis),
                for_gamma,
                for_beta,
            )

        return unit * gamma + beta, gradient

    return forward(x, gamma, beta)


def normalize_by_shares(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    axes: Sequence[int],
    epsilon: float,
    shares: tf.Tensor,
) -> tf.Tensor:
    """As `normalize`, by the mean and variance of the examples that count.

    Args:
        x: As for `normalize`.
        gamma: As for `normalize`.
        beta: As for `normalize`.
        axes: As for `normalize`.
        epsilon: As for `normalize`.
        shares: Factors of the examples in mean and variance, of the rank of `x`. Their mean over
            `axes` is 1. They are constants for every derivative.
    """
    return _composed(x, gamma, beta, tuple(axes), epsilon, tf.stop_gradient(shares))


def _composed(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    axes: tuple[int, ...],
    epsilon: float,
    shares: tf.Tensor | None = None,
) -> tf.Tensor:
    @tf.custom_gradient
    def forward(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
        unit, inverse = _unit(x, axes, epsilon, shares)

        def gradient(dy: Any) -> tuple[tf.Tensor, ...]:
            dy = tf.convert_to_tensor(dy)  # a gather gives slices
            known = unit, inverse
            return _backward(dy, x, gamma, axes, epsilon, shares=shares, known=known)

        return unit * gamma + beta, gradient

    return forward(x, gamma, beta)


def _fused(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    shape = tf.shape(gamma)

    @tf.custom_gradient
    def forward(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
        none = tf.zeros([0])
        scale = tf.reshape(gamma, [-1])
        result = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=tf.reshape(beta, [-1]),
            mean=none,
            variance=none,
            epsilon=epsilon,
            is_training=True,
        )

        def kernel(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
            slopes = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=x,
                scale=scale,
                reserve_space_1=result.reserve_space_1,
                reserve_space_2=result.reserve_space_2,
                reserve_space_3=result.reserve_space_3,
                epsilon=epsilon,
                is_training=True,
            )
            return (
                slopes.x_backprop,
                tf.reshape(slopes.scale_backprop, shape),
                tf.reshape(slopes.offset_backprop, shape),
            )

        def gradient(dy: Any) -> tuple[tf.Tensor, ...]:
            dy = tf.convert_to_tensor(dy)  # a gather gives slices
            return _backward(dy, x, gamma, (0, 1, 2), epsilon, kernel)

        return result.y, gradient

    return forward(x, gamma, beta)


def _counted(z: tf.Tensor, shares: tf.Tensor | None) -> tf.Tensor:
    """`z` times the shares of examples; `z` itself where all examples count."""
    return z if shares is None else shares * z


def _unit(
    x: tf.Tensor, axes: tuple[int, ...], epsilon: float, shares: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """`x` with mean 0 and variance 1, and the inverse of its standard deviation."""
    centered = x + (-tf.reduce_mean(_counted(x, shares), axes, keepdims=True))
    variance = tf.reduce_mean(_counted(tf.square(centered), shares), axes, keepdims=True)
    inverse = tf.math.rsqrt(variance + epsilon)
    return centered * inverse, inverse


def _backward(
    dy: tf.Tensor,
    x: tf.Tensor,
    gamma: tf.Tensor,
    axes: tuple[int, ...],
    epsilon: float,
    kernel: Callable[[tf.Tensor], tuple[tf.Tensor, ...]] | None = None,
    shares: tf.Tensor | None = None,
    known: tuple[tf.Tensor, tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The derivatives for x, gamma and beta, which can be differentiated once more.

    With the normalized activations h, the inverse standard deviation r, and means <.> over M
    examples and pixels:

        dx = gamma r (dy - <dy> - h <dy h>),  dgamma = M <dy h>,  dbeta = M <dy>.

    For cotangents v, p and q of the three, these are the derivatives of
    `gamma r A + p dgamma + q dbeta`, `A = M (<v dy> - <v> <dy> - <v h> <dy h>)`, for dy, x and
    gamma: with `H = p dy - gamma r (v <dy h> + dy <v h>)`, the derivative for h,

        gamma r (v - <v> - h <v h>) + p h + q,
        r (H - <H> - h (gamma r A / M + <dy h> (p - 2 gamma r <v h>))),
        r A.

    `known` holds h and r of a caller that has normalized x itself.

    With shares c of examples in the statistics, c times x, v and (x - <x>)^2 is averaged in the
    place of x, v and (x - <x>)^2, and what comes from the statistics has a factor c:

        dx = gamma r (dy - c <dy> - c h <dy h>),

    and likewise in the derivative for x.
    """

    def mean(z: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(z, axes, keepdims=True)

    @tf.custom_gradient
    def backward(dy: tf.Tensor, x: tf.Tensor, gamma: tf.Tensor) -> tuple:
        unit, inverse = known or _unit(x, axes, epsilon, shares)
        count = _count(x, axes)
        if kernel is None:
            of_beta, of_gamma = mean(dy), mean(dy * unit)
            through = _counted(of_beta, shares), _counted(unit * of_gamma, shares)
            dx = gamma * inverse * (dy - through[0] - through[1])
            slopes = dx, count * of_gamma, count * of_beta
        else:
            slopes = kernel(dy)
            of_gamma, of_beta = slopes[1] / count, slopes[2] / count

        def gradient(v: tf.Tensor, p: tf.Tensor, q: tf.Tensor) -> tuple[tf.Tensor, ...]:
            scale = gamma * inverse
            v_counted = _counted(v, shares)
            v_mean, v_unit = mean(v_counted), mean(v_counted * unit)
            for_dy = scale * v + (unit * (p - scale * v_unit) + (q - scale * v_mean))
            spread = mean(v * dy) - v_mean * of_beta - v_unit * of_gamma
            for_unit = (p - scale * v_unit) * dy - (scale * of_gamma) * v_counted
            for_unit_mean = (p - scale * v_unit) * of_beta - scale * of_gamma * v_mean
            bent = scale * spread + of_gamma * (p - 2 * scale * v_unit)
            through = _counted(for_unit_mean, shares), _counted(unit * bent, shares)
            for_x = inverse * (for_unit - through[0] - through[1])
            return for_dy, for_x, count * inverse * spread

        return slopes, gradient

    return backward(dy, x, gamma)


def _count(x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """How many numbers a mean over `axes` is of."""
    sizes = [x.shape[axis] for axis in axes]
    if None not in sizes:
        return tf.constant(float(np.prod(sizes)), x.dtype)
    return tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), list(axes))), x.dtype)
