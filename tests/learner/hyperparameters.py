"""A network and an inner loss with a variable for each kind of hyperparameter, in float64."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient

EXAMPLES, FEATURES, CLASSES = 5, 3, 3
NAMES = ("log_decay", "log_noise", "smoothing", "temperature", "weights_of_examples")


@keras.saving.register_keras_serializable(package="tests")
class RidgeDense(keras.layers.Dense):
    """A dense layer with a learned weight decay."""

    def build(self, shape):
        super().build(shape)
        start = keras.initializers.Constant(-1.0)
        self.log_decay = self.add_weight(shape=(), initializer=start, name="log_decay")

    def call(self, x):
        self.add_loss(ops.exp(self.log_decay) * ops.sum(ops.square(self.kernel)))
        return super().call(x)


@keras.saving.register_keras_serializable(package="tests")
class Noise(keras.layers.Layer):
    """Noise of a learned size, in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.draws = keras.random.SeedGenerator(3)

    def build(self, shape):
        start = keras.initializers.Constant(-1.0)
        self.log_noise = self.add_weight(shape=(), initializer=start, name="log_noise")

    def call(self, x, training=False):
        if not training:
            return x
        noise = keras.random.normal(ops.shape(x), dtype=x.dtype, seed=self.draws)
        return x + ops.exp(self.log_noise) * noise


@keras.saving.register_keras_serializable(package="tests")
class SoftCrossEntropy(keras.losses.Loss):
    """A cross-entropy with a label smoothing, a temperature and weights of examples to learn."""

    def __init__(self, examples=EXAMPLES, name="soft_cross_entropy", **kwargs):
        super().__init__(name=name)
        self.examples = examples
        make = functools.partial(keras.Variable, dtype=keras.config.floatx())
        self.smoothing = make(-2.0, name="smoothing")
        self.temperature = make(0.3, name="temperature")
        self.weights = make(np.linspace(-0.5, 0.5, examples), name="weights_of_examples")

    def call(self, y, z):
        classes = z.shape[-1]
        share = ops.sigmoid(self.smoothing)
        y = (1 - share) * ops.one_hot(
            ops.cast(y, "int32"), classes, dtype=z.dtype
        ) + share / classes
        losses = keras.losses.categorical_crossentropy(
            y, z / ops.exp(self.temperature), from_logits=True
        )
        return losses * ops.softmax(self.weights) * self.examples

    def get_config(self):
        return {"examples": self.examples, "name": self.name}


def learner_of(algorithm, inner_loss=None, **compiled):
    """A compiled learner of the network, whose kernels and biases adapt."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            Noise(),
            RidgeDense(CLASSES, activation="tanh", name="head"),
        ]
    )
    learner = ki.MetaLearner(network, algorithm, adapt=["kernel", "bias"])
    learner.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        inner_loss=SoftCrossEntropy() if inner_loss is None else inner_loss,
        **compiled,
    )
    return learner


def tasks(count=2, seed=0):
    """A meta-batch."""
    rng = np.random.default_rng(seed)
    x = lambda: tf.constant(rng.normal(size=(count, EXAMPLES, FEATURES)), keras.config.floatx())  # noqa: E731
    y = lambda: tf.constant(rng.integers(0, CLASSES, (count, EXAMPLES)), "int32")  # noqa: E731
    return (x(), y()), (x(), y())


def slopes(learner, data, step=1e-4):
    """By name, the meta-gradient of each hyperparameter, and differences of the outer loss."""
    chosen = {v.name: v for v in learner.trainable_variables if v.name in NAMES}
    assert sorted(chosen) == sorted(NAMES)

    @tf.function(autograph=False)  # one graph for gradients and differences
    def step_of_all():
        objective = learner.objective(data, training=True)
        variables = learner.trainable_variables
        meta = meta_gradient(learner.algorithm, objective, variables, None)
        by_id = {id(v): g for v, g in zip(variables, meta.gradients, strict=True)}
        gradients = {name: by_id[id(v)] for name, v in chosen.items()}
        return tf.reduce_mean(meta.query_losses), gradients, meta.valid

    def difference(variable, direction):
        start = variable.numpy()
        ends = []
        for sign in (1, -1):
            variable.assign(start + sign * step * direction)
            ends.append(float(step_of_all()[0]))
        variable.assign(start)
        return (ends[0] - ends[1]) / (2 * step)

    _, gradients, valid = step_of_all()
    assert valid.numpy().all()
    pairs = {}
    for name, variable in chosen.items():
        direction = np.cos(np.arange(np.size(variable.numpy()))).reshape(variable.shape)
        exact = float(np.sum(gradients[name].numpy() * direction))
        pairs[name] = exact, difference(variable, direction)
    return pairs
