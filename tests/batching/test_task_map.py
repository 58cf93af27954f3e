"""What vectorization would lose or cannot do is computed task by task, and exact."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.batching.task_map import TaskMap
from keras_imaml.meta_parameters import Parameters

TASKS = 3


@tf.custom_gradient
def straight_through(x):
    return tf.round(x), lambda upstream: upstream


def condition(x):
    return ops.cond(ops.sum(x) > 0, lambda: ops.sin(x), lambda: ops.cos(x))


def scan(x):
    total, _ = ops.scan(lambda total, row: (0.9 * total + row, total), x[:, 0], ops.transpose(x))
    return x + total[:, None]


def switch(x):
    return ops.switch(ops.cast(ops.sum(x) > 0, "int32"), [ops.sin, ops.cos], x)


FUNCTIONS = {
    "straight_through": (straight_through, "custom gradient of straight_through"),
    "condition": (condition, "control flow"),
    "scan": (scan, "control flow"),
    "switch": (switch, "control flow"),
}


def network(function):
    return keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            layers.Dense(2, dtype="float64"),
            layers.Lambda(function, dtype="float64"),
            layers.Dense(1, dtype="float64"),
        ]
    )


def derivatives(evaluate):
    """A function of weights and inputs: the gradient, and a product with the Hessian."""

    @tf.function(autograph=False)
    def compute(phi, x):
        with tf.GradientTape() as outer_tape:
            outer_tape.watch(phi)
            with tf.GradientTape() as inner_tape:
                inner_tape.watch(phi)
                value = tf.reduce_sum(tf.sin(evaluate(phi, x, True).outputs))
            gradient = inner_tape.gradient(value, phi)
            product = tf.reduce_sum(gradient * tf.cos(tf.stop_gradient(phi)))
        return gradient, outer_tape.gradient(product, phi)

    return compute


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("scan", "switch") else name
        for name in FUNCTIONS
    ],
)
def test_derivatives_are_those_of_each_task_alone(name):
    function, reason = FUNCTIONS[name]
    model = network(function)
    parameters = Parameters(model)
    evaluate = TaskNetwork(model, parameters)
    numbers = np.random.default_rng(0)
    phi = tf.constant(numbers.normal(size=(TASKS, int(parameters.theta().shape[0]))))
    x = tf.constant(numbers.normal(size=(TASKS, 4, 3)))
    with pytest.warns(UserWarning, match=reason):
        results = derivatives(evaluate)(phi, x)
    of_one = derivatives(evaluate)
    task_results = [of_one(phi[i : i + 1], x[i : i + 1]) for i in range(TASKS)]
    for result, parts in zip(results, zip(*task_results, strict=True), strict=True):
        np.testing.assert_allclose(result, np.concatenate(parts), rtol=1e-12, atol=1e-12)
    assert np.abs(results[0]).max() > 0.1


def test_a_number_of_tasks_that_the_graph_does_not_know():
    one_task = TaskMap()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float64)])
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = one_task(lambda row: tf.reduce_sum(straight_through(row) ** 2), x)
        return tape.gradient(y, x)

    x = np.array([[0.4, 1.6, -2.2], [3.0, 0.0, 0.7]])
    with pytest.warns(UserWarning, match="custom gradient"):
        np.testing.assert_allclose(gradient(tf.constant(x)), 2 * np.round(x))


def test_a_loss_keeps_its_gradient():
    loss = TaskLoss(lambda y, outputs: tf.reduce_sum(straight_through(outputs) * y), "float64")
    y, outputs = tf.constant([[1.0, 2.0], [3.0, 4.0]], tf.float64), tf.zeros([2, 2], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        with pytest.warns(UserWarning, match="custom gradient"):
            value = loss(y, outputs)
    np.testing.assert_allclose(tape.gradient(value, outputs), y)


def test_gradients_of_tensorflow_stay_vectorized():
    one_task = TaskMap()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tf.function(lambda x: one_task(tf.nn.silu, x), autograph=False)(tf.zeros([2, 3]))
    assert not one_task.one_by_one


def test_an_error_of_the_function_itself_is_not_hidden():
    def failing_function(row):
        raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        tf.function(lambda x: TaskMap()(failing_function, x), autograph=False)(tf.zeros([2, 3]))


def mask(x):
    return tf.reduce_sum(tf.boolean_mask(x, x > 0))


def distinct(x):
    return tf.cast(tf.size(tf.unique(tf.reshape(tf.round(x), [-1]))[0]), tf.float32)


@pytest.mark.parametrize(("function", "kind"), [(mask, "Where"), (distinct, "Unique")])
def test_results_of_another_size_in_each_task_are_computed_task_by_task(function, kind):
    x = tf.constant(np.random.default_rng(0).normal(size=(TASKS, 2, 3)), tf.float32)
    with pytest.warns(UserWarning, match=f"cannot vectorize its operation {kind}"):
        result = tf.function(lambda x: TaskMap()(function, x))(x)
    np.testing.assert_allclose(result, [function(row) for row in x], rtol=1e-6)
