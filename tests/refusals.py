"""The layers that are refused: why, the way out, and a network for each that is refused.

The list from which tests, and the second table of docs/layers.md, are made.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching import TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests import second_derivatives


class Refusal(NamedTuple):
    """Something that no network of a learner may hold.

    Attributes:
        construct: As the page calls it.
        reason: In a few words.
        way_out: What the page advises.
        provoke: Does what is refused, with a layer named `culprit`.
        says: Parts of the message that name the layer and the way out.
    """

    construct: str
    reason: str
    way_out: str
    provoke: Callable[[], object]
    says: tuple[str, ...]


def _network(layer: layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), layer, layers.Dense(2)])


def _evaluated(layer: layers.Layer) -> object:
    model = _network(layer)
    parameters = Parameters(model)
    phi = tf.repeat(parameters.theta()[None], 2, 0)
    return TaskNetwork(model, parameters)(phi, tf.ones([2, 2, 4]), True).outputs


def _by_learner(model: keras.Model) -> object:
    return ki.MetaLearner(model, ki.IMAML())


class Drawing(layers.Layer):
    """Adds what a function draws."""

    def __init__(self, draw: Callable[[], object]) -> None:
        super().__init__(name="culprit")
        self.draw = draw

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + keras.ops.cast(self.draw(), x.dtype)


class Counting(layers.Layer):
    """Counts its calls."""

    def build(self, shape: tuple) -> None:
        self.calls = self.add_weight(shape=(), trainable=False, dtype="int32", name="calls")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.calls.assign_add(1)
        return x


class Scaling(layers.Layer):
    """Multiplies by a weight, which `read` gives."""

    def __init__(self, read: str) -> None:
        super().__init__(name="culprit")
        self.read = read

    def build(self, shape: tuple) -> None:
        if self.read == "a tf.Variable":
            self.factor = tf.Variable(tf.ones([shape[-1]]))
            return
        self.factor = self.add_weight(shape=shape[-1:], initializer="ones", name="factor")
        if self.read == "a graph":
            spec = tf.TensorSpec([None, shape[-1]])
            scaled = tf.function(lambda x: x * self.factor.value)
            self.graph = scaled.get_concrete_function(spec)
        self.cached = [self.factor.value + 0.0]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.read == "a graph":
            return self.graph(x)
        if self.read == "Python":
            scaled = tf.py_function(lambda x: x * self.factor.value, [x], tf.float32)
            return tf.ensure_shape(scaled, x.shape)
        return x * (self.cached[0] if self.read == "a copy" else self.factor)


def _in_a_loop() -> object:
    seeds = keras.random.SeedGenerator(1)

    def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return i + 1, total + keras.random.normal([], seed=seeds)

    loop = lambda: tf.while_loop(lambda i, _: i < 2, body, (0, 0.0))[1]  # noqa: E731
    return _evaluated(Drawing(loop))


def _first_step(layer: layers.Layer, shape: tuple[int, ...]) -> object:
    inputs = keras.Input(shape)
    x = layers.Flatten()(layer(layers.Dense(shape[-1], name="before")(inputs)))
    learner = _by_learner(keras.Model(inputs, layers.Dense(1)(x)))
    learner.compile(loss="mse")
    x = tf.random.stateless_uniform([1, 4, *shape], [0, 1])
    learner._objectives.outer_loss.compiled.build(tf.zeros([4, 1]), tf.zeros([4, 1]))
    learner.first_step.keep((x, tf.ones([1, 4, 1])))
    return learner.first_step.check()


@tf.custom_gradient
def _stopped(x: tf.Tensor) -> tuple:
    return 2 * x, lambda dy: 2 * tf.stop_gradient(dy)


def _max_pool_twice() -> object:
    def pooled(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool_with_argmax(x, 2, 2, "VALID")[0]

    x = tf.random.stateless_uniform([1, 4, 4, 1], [0, 1])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(pooled(x) ** 2)
        slope = tape.gradient(loss, x)
    return outer.gradient(slope, x)


_NEW_SEED = "`keras.random` with a `SeedGenerator` of the layer"
_ADD_WEIGHT = "`add_weight`, read in `call`"
_READ = ("culprit", "self.add_weight", "read them in `call`")
_FIRST_ORDER = ("first_order=True", "keras_imaml.Reptile()", "freeze the layers before it")

GEOMETRIC = ("Rotation", "Translation", "Zoom", "Shear", "Perspective")

REFUSALS = [
    Refusal(
        "trainable `BatchNormalization`",
        "its running averages mix tasks",
        "`ki.replace_batch_normalization`, or freeze it",
        lambda: _by_learner(_network(layers.BatchNormalization(name="culprit"))),
        ("culprit", "keras_imaml.layers.TaskBatchNormalization", "trainable = False"),
    ),
    Refusal(
        "state that changes in `call`: a running mean, a counter, a metric",
        "tasks have no single new value",
        "update it in a callback",
        lambda: _evaluated(Counting(name="culprit")),
        ("culprit", "updated in a callback"),
    ),
    Refusal(
        "`SpectralNormalization` in training",
        "its vector changes in `call`",
        "call it with `training=False`",
        lambda: _evaluated(layers.SpectralNormalization(layers.Dense(4), name="culprit")),
        ("culprit", "training=False"),
    ),
    Refusal(
        "recurrent layers with `stateful=True`",
        "states of one task would get into others",
        "`stateful=False`",
        lambda: _by_learner(
            keras.Sequential(
                [keras.Input((2, 4), batch_size=3), layers.GRU(3, stateful=True, name="culprit")]
            )
        ),
        ("culprit", "with stateful=False"),
    ),
    Refusal(
        "draws by `tf.random`",
        "the inner problem would change at every call",
        _NEW_SEED,
        lambda: _evaluated(Drawing(lambda: tf.random.normal([]))),
        ("culprit", "keras.random.SeedGenerator"),
    ),
    Refusal(
        "draws by Python's or NumPy's random numbers, such as `AugMix`",
        "they are drawn when a graph is built, and never again",
        f"{_NEW_SEED}; `AugMix` in the data set",
        lambda: _evaluated(Drawing(random.random)),
        ("keras.random.SeedGenerator", "AugMix", "tasks.map"),
    ),
    Refusal(
        "draws in a loop",
        "every step of the loop would get the same numbers",
        "draw before the loop, or `unroll=True`",
        _in_a_loop,
        ("Draw all numbers before the loop", "unroll=True"),
    ),
    Refusal(
        "a graph that was traced before, or a weight's own `tf.Variable`",
        "it reads the weights that all tasks start from",
        _ADD_WEIGHT,
        lambda: _evaluated(Scaling("a graph")),
        _READ,
    ),
    Refusal(
        "numbers that were taken from a weight in `build`",
        "no task changes them",
        _ADD_WEIGHT,
        lambda: _evaluated(Scaling("a copy")),
        _READ,
    ),
    Refusal(
        "a trainable `tf.Variable` as an attribute",
        "Keras does not know it, so nothing trains or adapts it",
        f"{_ADD_WEIGHT}; or `trainable=False`",
        lambda: _evaluated(Scaling("a tf.Variable")),
        (*_READ, "trainable=False"),
    ),
    Refusal(
        "`tf.py_function` in a layer with trainable weights",
        "the weights that Python sees are not those of a task",
        "a layer without weights, or the input pipeline",
        lambda: _evaluated(Scaling("Python")),
        ("culprit", "a layer without trainable weights", "input pipeline"),
    ),
    Refusal(
        "outputs with a mask",
        "padding would be trained on",
        "a layer that takes the mask in, or a loss with `ignore_class`",
        lambda: _by_learner(
            keras.Sequential([keras.Input((3,)), layers.Embedding(5, 2, mask_zero=True)])
        ),
        ("takes it in", "`ignore_class`"),
    ),
    Refusal(
        ", ".join(f"`{name}`" for name, *_ in second_derivatives.REFUSED),
        "TensorFlow has no second derivative",
        "another layer, freeze the layers before it, first-order MAML, Reptile",
        _max_pool_twice,
        ("max_pool_with_argmax", *_FIRST_ORDER),
    ),
    Refusal(
        "`tf.custom_gradient` or `stop_gradient` that ends a second derivative",
        "the meta-gradient would be wrong; found at the first step",
        "a gradient that can be differentiated, or as above",
        lambda: _first_step(layers.Lambda(_stopped, name="culprit"), (3,)),
        ("culprit", "give it a gradient that can be differentiated", *_FIRST_ORDER),
    ),
    Refusal(
        ", ".join(f"`Random{kind}`" for kind in GEOMETRIC) + " after weights that adapt",
        "TensorFlow's gradient is not the derivative of the values; found at the first step",
        "before all weights, or as above",
        lambda: _first_step(layers.RandomTranslation(0.3, 0.3, seed=1, name="culprit"), (6, 6, 3)),
        ("culprit", *_FIRST_ORDER),
    ),
]


def table() -> str:
    """A row for each refusal."""
    rows = [f"| {r.construct} | {r.reason} | {r.way_out} |" for r in REFUSALS]
    return "\n".join(["| what | why | the way out |", "|---|---|---|", *rows])
