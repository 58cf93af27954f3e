"""Products with the Hessian against finite differences, for every kind of layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.curvature import Hessian
from tests import problems
from tests.curvature import networks


def finite_differences(inner, phi, v, step=1e-5):
    gradient = tf.function(inner.gradient, autograph=False)
    return ((gradient(phi + step * v) - gradient(phi - step * v)) / (2 * step)).numpy()


def graph(function, *arguments):
    return tf.function(function, autograph=False)(*arguments)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        if kind in ("gelu", "softplus", "dense")
        else kind
        for kind in networks.LAYERS
    ],
)
def test_equals_finite_differences_of_the_gradient(kind):
    inner, phi = networks.inner_problem(networks.network(kind))
    u, v = networks.directions(phi)
    au, av = networks.products(graph, Hessian(), inner, phi, [u, v])
    assert networks.relative_error(av, finite_differences(inner, phi, v)) < 1e-6
    # Symmetric, task by task.
    np.testing.assert_allclose(np.sum(u * av, 1), np.sum(v * au, 1), rtol=1e-10)


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("dense", "max_pooling") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in networks.LAYERS
    ],
)
def test_single_precision_equals_double(kind):
    inner, phi = networks.inner_problem(networks.network(kind))
    _, v = networks.directions(phi)
    (av,) = networks.products(graph, Hessian(), inner, phi, [v])
    single, _ = networks.inner_problem(networks.network(kind, "float32"))
    (product,) = networks.products(
        graph, Hessian(), single, tf.cast(phi, tf.float32), [tf.cast(v, tf.float32)]
    )
    assert product.dtype == np.float32
    assert networks.relative_error(product, av) < 1e-3


@pytest.mark.parametrize(
    "kind",
    ["task_batch_normalization", pytest.param("layer_normalization", marks=pytest.mark.slow)],
)
def test_is_the_same_eagerly(kind):
    inner, phi = networks.inner_problem(networks.network(kind))
    vectors = networks.directions(phi, 1)
    (eager_product,) = networks.products(lambda f, *a: f(*a), Hessian(), inner, phi, vectors)
    (graph_product,) = networks.products(graph, Hessian(), inner, phi, vectors)
    np.testing.assert_allclose(eager_product, graph_product, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("downsample", ["stride", "average", "max"])
def test_conv4_equals_finite_differences(downsample):
    settings = {} if downsample == "stride" else {"activation": "gelu"}
    problem = networks.conv4(downsample, **settings)
    inner, phi = networks.inner_problem(problem)
    (v,) = networks.directions(phi, 1)
    (product,) = networks.products(graph, Hessian(), inner, phi, [v])
    assert networks.relative_error(product, finite_differences(inner, phi, v)) < 1e-6


def test_equals_the_closed_form_of_linear_regression(run):
    problem = problems.LinearRegression(tasks=2)
    inner, phi = networks.inner_problem(problem, strength=0.7)
    (v,) = networks.directions(phi, 1)
    (product,) = networks.products(run, Hessian(), inner, phi, [v])
    expected = np.einsum("tij,tj->ti", problem.hessian, v) + 0.7 * v
    np.testing.assert_allclose(product, expected, rtol=1e-10)


def test_a_strength_for_each_weight_is_the_diagonal():
    problem = problems.LinearRegression(tasks=2)
    strength = np.arange(1.0, 7.0)
    inner, phi = networks.inner_problem(problem, strength=strength)
    (v,) = networks.directions(phi, 1)
    (product,) = networks.products(graph, Hessian(), inner, phi, [v])
    expected = np.einsum("tij,tj->ti", problem.hessian, v) + strength * v
    np.testing.assert_allclose(product, expected, rtol=1e-10)


def test_weight_regularizers_enter():
    plain_inner, phi = networks.inner_problem(networks.perceptron(problems.mean_squared_error))
    decayed_inner, _ = networks.inner_problem(
        networks.perceptron(problems.mean_squared_error, regularizer=keras.regularizers.L2(0.5))
    )
    kernel = np.zeros(phi.shape[1])
    kernel[:9] = 1.0
    np.testing.assert_allclose(
        decayed_inner.value(phi) - plain_inner.value(phi),
        0.5 * np.sum(kernel * phi**2, 1),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        decayed_inner.gradient(phi) - plain_inner.gradient(phi), kernel * phi, rtol=1e-9, atol=1e-12
    )
    (v,) = networks.directions(phi, 1)
    (decayed_product,) = networks.products(graph, Hessian(), decayed_inner, phi, [v])
    (plain_product,) = networks.products(graph, Hessian(), plain_inner, phi, [v])
    np.testing.assert_allclose(decayed_product - plain_product, kernel * v, rtol=1e-9, atol=1e-12)


def test_linearize_gives_the_gradient_and_the_mixed_derivatives():
    problem = problems.LinearRegression(tasks=2)
    variable = problem.model.trainable_variables[0]
    inner, phi = networks.inner_problem(problem)
    parameters = inner.objective.parameters
    linearization = Hessian().linearize(
        lambda: inner._replace(theta=parameters.theta()), phi, [variable, tf.Variable(1.0)]
    )
    np.testing.assert_allclose(linearization.gradient, inner.gradient(phi), rtol=1e-12)
    (w,) = networks.directions(phi, 1)
    for_theta, for_unused = linearization.mixed(w)
    # theta enters the gradient as - lambda theta.
    expected = -networks.STRENGTH * np.sum(w, 0)
    np.testing.assert_allclose(np.ravel(for_theta), expected, rtol=1e-12)
    assert for_unused is None


def test_one_task_does_not_change_the_product_of_another():
    inner, phi = networks.inner_problem(networks.network("task_batch_normalization"))
    u, v = networks.directions(phi)
    mixed_vectors = tf.concat([v[:1], u[1:]], axis=0)
    first, second = networks.products(graph, Hessian(), inner, phi, [v, mixed_vectors])
    np.testing.assert_allclose(first[0], second[0], rtol=1e-12)
    assert not np.allclose(first[1], second[1])
