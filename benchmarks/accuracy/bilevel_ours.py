"""The problems of `benchmarks.accuracy.bilevel` with this package."""

from typing import Any

import keras_imaml as ki

import keras
import numpy as np
import tensorflow as tf

from benchmarks.accuracy.peers.problems import DECAY, RATE, STEPS, STRENGTH, Problem


class RidgeDense(keras.layers.Dense):
    """A dense layer whose weight decay is learned."""

    def build(self, shape: Any) -> None:
        super().build(shape)
        self.log_decay = self.add_weight(shape=(), name="log_decay")

    def call(self, x: Any) -> Any:
        self.add_loss(keras.ops.exp(self.log_decay) * keras.ops.sum(self.kernel**2))
        return super().call(x)


class WeightedLoss(keras.losses.Loss):
    """A cross-entropy whose weights of examples are learned."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = keras.Variable(logits, dtype=keras.config.floatx())

    def call(self, y: Any, z: Any) -> Any:
        each = keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)
        return keras.ops.sigmoid(self.logits) * each


def implicit(strength: float) -> ki.IMAML:
    """The implicit rule, solved to rounding."""
    return ki.IMAML(
        strength,
        inner=ki.inner.NewtonCG(30, linear_steps=50, curvature="hessian", linear_tolerance=1e-3),
        linear=ki.linear.ConjugateGradient(max_steps=100, tolerance=1e-13),
        curvature="hessian",
    )


def unrolled(problem: Problem) -> ki.MAML:
    """A few steps, which are differentiated."""
    return ki.MAML(ki.inner.GradientDescent(STEPS, RATE * problem.rate))


def meta_gradient(problem: Problem, unroll: bool = False) -> np.ndarray:
    """The meta-gradient, flat, in the order of `problem.meta`.

    Args:
        problem: The problem.
        unroll: Whether to differentiate a few steps in place of the solution. Defaults to `False`.
    """
    keras.config.set_floatx("float64")
    learner = {"ridge": ridge, "reweighting": reweighting, "images": images}[problem.name](
        problem, unroll
    )
    support_x, support_y, query_x, query_y = map(np.stack, zip(*problem.tasks, strict=True))
    variables = [v for v in learner.trainable_variables if v.name != "kernel" or is_images(problem)]

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        objective = learner.objective(((support_x, support_y), (query_x, query_y)), training=True)
        return learner.algorithm.meta_gradient(objective, variables).gradients

    return np.concatenate([np.ravel(gradient) for gradient in step.get_concrete_function()()])


def is_images(problem: Problem) -> bool:
    """Whether the meta-parameters are the start of the weights."""
    return problem.name == "images"


def ridge(problem: Problem, unroll: bool) -> ki.MetaLearner:
    """A learner of the decay; lambda is next to nothing, as nothing pulls to the start."""
    layer = RidgeDense(1, use_bias=False, kernel_initializer="zeros")
    network = keras.Sequential([keras.Input((4,)), layer])
    layer.log_decay.assign(problem.meta[0])
    algorithm = unrolled(problem) if unroll else implicit(1e-8)
    learner = ki.MetaLearner(network, algorithm, adapt="kernel")
    learner.compile(loss="mse")
    return learner


def reweighting(problem: Problem, unroll: bool) -> ki.MetaLearner:
    """A learner of the weights of examples."""
    decay = keras.regularizers.L2(DECAY)
    network = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(
                3, use_bias=False, kernel_initializer="zeros", kernel_regularizer=decay
            ),
        ]
    )
    learner = ki.MetaLearner(network, unrolled(problem) if unroll else implicit(1e-8))
    learner.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        inner_loss=WeightedLoss(problem.meta),
    )
    return learner


def images(problem: Problem, unroll: bool) -> ki.MetaLearner:
    """A learner of the start of a convolution and a head."""
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3, strides=2, activation="tanh"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    parts = np.split(problem.meta, np.cumsum([w.numpy().size for w in network.weights])[:-1])
    for weight, part in zip(network.weights, parts, strict=True):
        weight.assign(part.reshape(weight.shape))
    learner = ki.MetaLearner(network, unrolled(problem) if unroll else implicit(STRENGTH))
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return learner
