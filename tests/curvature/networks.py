"""Small networks, one for each kind of layer, and what both curvatures are checked with."""

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.tasks import Tasks
from tests import problems

STRENGTH = 0.3

# Each kind of layer stands between a convolution of 4 features and a head of 3 logits.
LAYERS = {
    "dense": lambda d: layers.Dense(3, activation="tanh", dtype=d),
    "relu": lambda d: layers.Activation("relu", dtype=d),
    "gelu": lambda d: layers.Activation("gelu", dtype=d),
    "softplus": lambda d: layers.Activation("softplus", dtype=d),
    "strided_convolution": lambda d: layers.Conv2D(
        3, 3, strides=2, padding="same", activation="gelu", dtype=d
    ),
    "average_pooling": lambda d: layers.AveragePooling2D(2, dtype=d),
    "max_pooling": lambda d: layers.MaxPooling2D(2, dtype=d),
    "task_batch_normalization": lambda d: ki.layers.TaskBatchNormalization(dtype=d),
    "layer_normalization": lambda d: layers.LayerNormalization(dtype=d),
    "group_normalization": lambda d: layers.GroupNormalization(2, dtype=d),
    "frozen_batch_normalization": lambda d: layers.BatchNormalization(trainable=False, dtype=d),
    "unit_normalization": lambda d: layers.UnitNormalization(dtype=d),
    "depthwise_convolution": lambda d: layers.DepthwiseConv2D(3, dtype=d),
}


def network(kind, dtype="float64", **settings):
    """A problem, for `problems.objective_of`, with one layer of this kind inside."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2), dtype=dtype),
            layers.Conv2D(4, 3, activation="tanh", dtype=dtype, **settings),
            LAYERS[kind](dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(3, dtype=dtype),
        ]
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 5, 6, 6, 2)).astype(dtype)
    y = np.tile([0, 1, 2, 0, 1], (2, 1)).astype("int32")
    tensors = Tasks(*map(tf.constant, (x, y, x, y)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
    return SimpleNamespace(model=model, loss=loss, tensors=tensors)


def conv4(downsample, dtype="float64", **settings):
    """A problem with the network of the literature, on the smallest images that it takes."""
    keras.utils.set_random_seed(0)
    size = 8 if downsample == "stride" else 16
    model = ki.models.Conv4(
        3, (size, size, 1), filters=2, downsample=downsample, dtype=dtype, **settings
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, size, size, 1)).astype(dtype)
    y = np.tile([0, 1, 2], (2, 1)).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
    return SimpleNamespace(model=model, loss=loss, tensors=Tasks(*map(tf.constant, (x, y, x, y))))


def perceptron(loss, outputs=2, dtype="float64", regularizer=None, support=4):
    """A problem so small that its Jacobian can be written down, with targets of any kind."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,), dtype=dtype),
            layers.Dense(3, activation="tanh", dtype=dtype, kernel_regularizer=regularizer),
            layers.Dense(outputs, dtype=dtype),
        ]
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, support, 3)).astype(dtype)
    y = rng.normal(size=(2, support, outputs)).astype(dtype)
    return SimpleNamespace(model=model, loss=loss, tensors=Tasks(*map(tf.constant, (x, y, x, y))))


def inner_problem(problem, strength=STRENGTH):
    """`InnerProblem` of the data, and weights `phi` at some distance from theta."""
    objective = problems.objective_of(problem)
    parameters = objective.parameters
    theta = parameters.theta()
    rng = np.random.default_rng(2)
    displacement = tf.constant(0.1 * rng.normal(size=(2, parameters.size)), parameters.dtype)
    return InnerProblem(objective, theta, tf.constant(strength, theta.dtype)), theta + displacement


def directions(phi, count=2, seed=3):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=phi.shape), phi.dtype) for _ in range(count)]


def products(run, curvature, inner, phi, vectors):
    """The products of one linearization with several vectors."""

    def linearize_and_multiply(phi, *vectors):
        linearization = curvature.linearize(lambda: inner, phi, [])
        return [linearization.product(v) for v in vectors]

    return [p.numpy() for p in run(linearize_and_multiply, phi, *vectors)]


def relative_error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def dense(product, phi):
    """The matrices of all tasks, column by column."""
    columns = [
        product(tf.tile(row[None], [phi.shape[0], 1])).numpy()
        for row in tf.eye(phi.shape[1], dtype=phi.dtype)
    ]
    return np.stack(columns, axis=-1)
