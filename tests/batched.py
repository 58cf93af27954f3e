"""Evaluation of all tasks together, compared with one task after the other."""

import numpy as np
import tensorflow as tf

from keras_imaml._compat.second_derivatives import exact_moments
from keras_imaml.batching import TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters

TASKS, EXAMPLES = 3, 4


def graph(function, *arguments):
    """Run as a graph."""
    return tf.function(function, autograph=False)(*arguments)


def weights_of_tasks(parameters, tasks=TASKS, seed=0):
    rng = np.random.default_rng(seed)
    displacement = 0.3 * rng.normal(size=(tasks, parameters.size))
    return tf.constant(parameters.theta().numpy() + displacement, parameters.dtype)


def inputs_of_tasks(dtype="float64", shape=(6, 6, 2), seed=1):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=(TASKS, EXAMPLES, *shape)).astype(dtype))


def task_by_task(model, parameters, phi, x, training=False):
    """Outputs, and the gradient of the sum of their cubes, with the weights assigned."""
    start = [v.numpy() for v in parameters.adapted]
    outputs, gradients = [], []
    for task in range(phi.shape[0]):
        for variable, stack in zip(parameters.adapted, parameters.unravel(phi), strict=True):
            variable.assign(stack[task])
        with tf.GradientTape() as tape:
            z = model(tf.nest.map_structure(lambda a, t=task: a[t], x), training=training)
            total = tf.add_n([tf.reduce_sum(part**3) for part in tf.nest.flatten(z)])
        parts = tape.gradient(
            total, [v.value for v in parameters.adapted], unconnected_gradients="zero"
        )
        outputs.append(z)
        gradients.append(np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in parts]))
    for variable, value in zip(parameters.adapted, start, strict=True):
        variable.assign(value)
    return tf.nest.map_structure(lambda *z: np.stack(z), *outputs), np.stack(gradients)


def outputs_and_gradient(network, phi, x, training=False):
    with tf.GradientTape() as tape:
        tape.watch(phi)
        outputs = network(phi, x, training=training).outputs
        total = tf.add_n([tf.reduce_sum(part**3) for part in tf.nest.flatten(outputs)])
    return outputs, tape.gradient(total, phi)


def check(run, model, x, dtype="float64", adapt=None, training=False):
    parameters = Parameters(model, adapt)
    network = TaskNetwork(model, parameters)
    phi = weights_of_tasks(parameters)
    expected, expected_gradient = task_by_task(model, parameters, phi, x, training)
    outputs, gradient = run(lambda phi, x: outputs_and_gradient(network, phi, x, training), phi, x)
    tf.nest.assert_same_structure(outputs, expected)
    exact_tolerance = {"rtol": 1e-9, "atol": 1e-9}
    loose_tolerance = {"rtol": 2e-3, "atol": 2e-3 * max(1, np.abs(expected_gradient).max())}
    tolerance = exact_tolerance if dtype == "float64" else loose_tolerance
    for a, b in zip(tf.nest.flatten(outputs), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected_gradient, **tolerance)


def check_curvature(model, x, adapt=None, atol=1e-5):
    """Compare products with the Hessian, taken through a graph, with differences of gradients."""
    parameters = Parameters(model, adapt)
    network = TaskNetwork(model, parameters)
    phi = weights_of_tasks(parameters)
    v = tf.constant(np.random.default_rng(2).normal(size=phi.shape))

    def gradient(phi):
        with tf.GradientTape() as tape:
            tape.watch(phi)
            total = tf.reduce_sum(tf.tanh(network(phi, x, training=True).outputs))
        return tf.convert_to_tensor(tape.gradient(total, phi))

    def product(phi):
        with exact_moments(), tf.GradientTape() as tape:
            tape.watch(phi)
            slope = gradient(phi)
        return tape.gradient(slope, phi, output_gradients=v)

    step = 1e-5
    differences = (gradient(phi + step * v) - gradient(phi - step * v)) / (2 * step)
    np.testing.assert_allclose(graph(product, phi), differences, rtol=1e-4, atol=atol)


def product_and_differences(layer, x, v, weights):
    """The Hessian-vector product of a small function of a layer, and what differences say."""

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weights * tf.tanh(layer(x)))
        return tape.gradient(loss, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        slope = gradient(x)
    product = tape.gradient(slope, x, output_gradients=v)
    return product, (gradient(x + 1e-5 * v) - gradient(x - 1e-5 * v)) / 2e-5
