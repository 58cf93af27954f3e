"""What a silent change of TensorFlow or Keras would make wrong, tried once in a process.

Other modules of this folder replace private parts. Most raise an error or are only slower where a
part is gone. Those that are tried here would give wrong numbers, and nothing would tell.
"""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat import exact_conversions
from keras_imaml._compat.custom_gradients import custom_gradients_noted
from keras_imaml._compat.lora import low_rank_products
from keras_imaml._compat.loss_masks import with_mask
from keras_imaml._compat.loss_scaling import scaling_noted
from keras_imaml._compat.random_streams import draws_refused
from keras_imaml._compat.reads import python_noted, read_in, reads_watched
from keras_imaml._compat.second_derivatives import exact_moments

_lock = threading.Lock()
_passed: set[str] = set()
TESTED = '"keras>=3.13,<3.16" "tensorflow>=2.20,<2.22"'


def check_once(lora: bool = False) -> None:
    """Try everything that was not tried yet in this process; it takes some milliseconds.

    Args:
        lora: Whether to try LoRA layers too, for a model that has some.

    Raises:
        RuntimeError: With what failed, the versions, and the way out.
    """
    checks = {**CHECKS, **(LORA_CHECKS if lora else {})}
    if checks.keys() <= _passed:
        return
    with _lock, concurrent.futures.ThreadPoolExecutor(1) as executor:
        # A thread of its own has no strategy, graph, tape or Keras scope of the caller.
        wrong = executor.submit(_wrong, {k: v for k, v in checks.items() if k not in _passed})
        if wrong.result():
            raise RuntimeError(
                f"With these versions {' and '.join(wrong.result())} would be wrong without an "
                "error, so that keras_imaml does not run. Expected versions that it was tested "
                f"with: pip install {TESTED}. Received: keras {keras.__version__}, tensorflow "
                f"{tf.__version__}"
            )
        _passed.update(checks)


def _wrong(checks: dict[str, Callable[[], bool]]) -> list[str]:
    with tf.device("CPU:0"):
        return [name for name, check in checks.items() if not check()]


def _moments() -> bool:
    """A Hessian-vector product through a normalization, beside one by elementary functions."""
    x = tf.constant([[0.3, -1.0, 2.0], [1.0, 0.5, 0.0]], tf.float64)
    # The name keeps Keras' counter of layers where it is.
    layer = keras.layers.LayerNormalization(
        center=False, scale=False, dtype="float64", name="self_check"
    )
    layer.build(x.shape)

    def by_keras(x: tf.Tensor) -> tf.Tensor:
        mean, variance = keras.ops.moments(x, axes=(1,), keepdims=True)
        return tf.concat([mean, variance, layer.call(x)], axis=1)

    def by_hand(x: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(x, axis=1, keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), axis=1, keepdims=True)
        normalized = (x - mean) * tf.math.rsqrt(variance + layer.epsilon)
        return tf.concat([mean, variance, normalized], axis=1)

    with exact_moments():
        product = _hessian_vector(by_keras, x)
    return _close(product, _hessian_vector(by_hand, x))


def _resizing() -> bool:
    """Second derivatives through `tf.image.resize`, which is linear: of |R x|², 2 R'R v."""
    x = tf.reshape(tf.range(4, dtype=tf.float32), [1, 2, 2, 1])

    def resized(x: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(x, [3, 3])

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = resized(x)
    direction = tf.ones_like(x)
    weighted = (_counted(y) ** 2 + 1) * resized(direction)
    expected = 2 * tape.gradient(y, x, output_gradients=weighted)
    return _close(_hessian_vector(lambda x: tf.square(resized(x)), x, direction), expected)


def _labels() -> bool:
    """The slope of a softmax cross-entropy for the logits falls by what the labels rise by."""
    labels, logits = tf.constant([[0.25, 0.75]]), tf.zeros([1, 2])
    direction = tf.constant([[1.0, -1.0]])  # along which labels keep their sum
    with tf.GradientTape() as outer:
        outer.watch(labels)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        slope = tf.reduce_sum(inner.gradient(loss, logits) * direction)
    product = outer.gradient(slope, labels)
    return product is not None and _close(product, -direction)


def _draws() -> bool:
    """Draws with and without a generator, both of which Keras asks this package for."""
    for seed in (None, keras.random.SeedGenerator(0, name="self_check")):
        try:
            with draws_refused("The self-check"):
                keras.random.uniform((1,), seed=seed)
        except ValueError:
            continue
        return False
    return True


def _losses() -> bool:
    """Keras asks how to scale a loss."""
    zeros = tf.zeros([1, 1])
    with scaling_noted() as asked:
        keras.losses.MeanSquaredError()(zeros, zeros)
    return bool(asked)


def _masks() -> bool:
    """Entries without a mask count nowhere in a loss."""
    outputs = with_mask(tf.constant([[1.0], [2.0]]), tf.constant([True, False]))
    loss = keras.losses.MeanSquaredError(reduction="sum")(tf.zeros([2, 1]), outputs)
    return float(loss) == 1.0


def _custom_gradients() -> bool:
    def identity(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        return x, lambda dy: dy

    identity.__module__ = "of_a_user"  # those of this package are not noted
    with custom_gradients_noted() as noted, tf.Graph().as_default():
        tf.custom_gradient(identity)(tf.constant(0.0))
    return bool(noted)


def _variable_reads() -> bool:
    variable = tf.Variable(0.0)
    with reads_watched() as watcher:
        tf.identity(variable)
    return bool(read_in(watcher))


def _python() -> bool:
    with python_noted() as noted, tf.Graph().as_default():
        tf.py_function(lambda: 0.0, [], tf.float32)
    return bool(noted)


def _lora() -> bool:
    """A dense layer of rank 1 by our call and by that of Keras."""
    x = tf.constant([[1.0, -2.0]])
    layer = keras.layers.Dense(2, kernel_initializer="ones", name="self_check")
    layer.build(x.shape)
    layer.enable_lora(1, a_initializer="zeros", b_initializer="zeros")  # nothing is drawn
    layer.lora_kernel_a.assign([[0.5], [1.5]])
    layer.lora_kernel_b.assign([[2.0, -1.0]])
    with low_rank_products():
        outputs = layer(x)
    return _close(outputs, layer(x))


def _hessian_vector(
    function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, direction: Any = None
) -> tf.Tensor:
    """Of the weighted sum of what a function gives; no weight is like another."""
    if direction is None:
        direction = _counted(x) + 1
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = function(x)
            total = tf.reduce_sum((_counted(y) ** 2 + 1) * y)
        slope = tf.reduce_sum(inner.gradient(total, x) * direction)
    product = outer.gradient(slope, x)
    return tf.zeros_like(x) if product is None else product


def _counted(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reshape(tf.range(tf.size(x)), tf.shape(x)), x.dtype)


def _close(value: tf.Tensor, expected: tf.Tensor) -> bool:
    return bool(tf.reduce_max(tf.abs(value - expected)) <= 1e-4 * tf.reduce_max(tf.abs(expected)))


CHECKS: dict[str, Callable[[], bool]] = {
    "second derivatives of normalization": _moments,
    "second derivatives of resized images": _resizing,
    "second derivatives of a cross-entropy for its labels": _labels,
    "random numbers of tasks": _draws,
    "losses on several replicas": _losses,
    "losses of some of the examples": _masks,
    "custom gradients in a network": _custom_gradients,
    "variables that a layer reads past Keras": _variable_reads,
    "Python functions in a network": _python,
    "operations on all tasks at once": lambda: exact_conversions.is_available,
}
"""By what would be wrong, whether it is right."""

LORA_CHECKS: dict[str, Callable[[], bool]] = {"layers with LoRA": _lora}
