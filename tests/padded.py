"""Tasks, and the same tasks with places where there is no example."""

import keras
import numpy as np
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient

PRESENT = {  # which places of a padded set hold an example: another pattern for each task
    "support": np.array([[1, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]], bool),
    "query": np.array([[0, 1, 1, 1, 0], [1, 1, 0, 0, 1]], bool),
}


def tasks(classes=2, seed=0, weighted=False, shape=(2,)):
    """Two tasks of 4 support and 3 query examples; with weights, if `weighted`."""
    rng = np.random.default_rng(seed)
    sets = []
    for examples in (4, 3):
        x = rng.normal(size=(2, examples, *shape))
        y = rng.integers(classes, size=(2, examples)) if classes else x[..., :1] ** 2
        weights = rng.uniform(0.5, 2.0, size=(2, examples))
        sets.append((x, y, weights) if weighted else (x, y))
    return tuple(sets)


def padded(data, garbage=np.nan):
    """The same tasks in larger sets, with garbage where there is no example."""
    sets = []
    for part, present in zip(data, PRESENT.values(), strict=True):
        x, y, *weights = part
        weights = weights[0] if weights else np.ones(y.shape[:2])
        sets.append(
            (
                spread(x, present, garbage),
                spread(y, present, -7 if y.dtype.kind == "i" else garbage),
                spread(weights, present, 0.0),
            )
        )
    return tuple(sets)


def spread(values, present, filling):
    """Rows of tasks in the places that are present."""
    result = np.full((*present.shape, *values.shape[2:]), filling, values.dtype)
    result[present] = values.reshape(-1, *values.shape[2:])
    return result


def network(classes=2, normalized=True):
    """A few weights in double precision, with batch normalization by the task."""
    x = inputs = keras.Input((2,))
    x = keras.layers.Dense(3, activation="tanh", name="hidden")(x)
    if normalized:
        x = ki.layers.TaskBatchNormalization(name="norm")(x)
    x = keras.layers.Dense(3, activation="tanh", name="last")(x)
    return keras.Model(inputs, keras.layers.Dense(classes or 1, name="head")(x))


def learner_of(algorithm, classes=2, normalized=True, loss=None, metrics=None, **settings):
    """A compiled learner; call it where `keras.config.floatx()` is float64."""
    keras.utils.set_random_seed(0)
    learner = ki.MetaLearner(network(classes, normalized), algorithm, **settings)
    if loss is None:
        logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = logits if classes else "mse"
    learner.compile(keras.optimizers.SGD(0.1), loss, **(metrics or {}))
    return learner


def close(a, b):
    """Assert that two arrays are equal to rounding."""
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def meta(learner, data, tasks_per_chunk=None):
    """The meta-gradient of a meta-batch: eagerly, which is quick, or in a graph where it loops."""
    data = tf.nest.map_structure(tf.convert_to_tensor, data)

    def step():
        objective = learner.objective(data, training=True)
        variables = learner.trainable_variables
        return meta_gradient(learner.algorithm, objective, variables, tasks_per_chunk)

    return tf.function(step, autograph=False)() if tasks_per_chunk else step()
