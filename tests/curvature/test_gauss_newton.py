"""Products with the Gauss-Newton matrix against J' S J, and that it is never indefinite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.curvature import GaussNewton, Hessian
from tests import problems
from tests.curvature import networks


def graph(function, *arguments):
    return tf.function(function, autograph=False)(*arguments)


def cross_entropy(y, z):
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(y), z))


def hinge(y, z):
    """Piecewise linear: its Hessian with respect to the outputs is zero."""
    return tf.reduce_mean(tf.maximum(1 - tf.sign(y) * z, 0))


def matrices(problem, inner, phi):
    """`J' S J + lambda I` of each task, from dense Jacobians."""
    objective = inner.objective
    result = []
    for task in range(phi.shape[0]):
        y = problem.tensors.support_y[task]

        def outputs_of(phi, task=task):
            task_phi = tf.tensor_scatter_nd_update(inner.start(), [[task]], phi[None])
            return objective.support(task_phi).outputs[task]

        with tf.GradientTape(persistent=True) as tape:
            row = tf.identity(phi[task])
            tape.watch(row)
            z = outputs_of(row)
        jacobian = tape.jacobian(z, row, experimental_use_pfor=False)
        with tf.GradientTape(persistent=True) as outer, tf.GradientTape() as first:
            outer.watch(z)
            first.watch(z)
            loss = problem.loss(y, z)
            slope = first.gradient(loss, z)
        output_hessian = outer.jacobian(
            slope, z, experimental_use_pfor=False, unconnected_gradients="zero"
        )
        size = int(tf.size(z))
        j = np.reshape(jacobian, (size, -1))
        result.append(j.T @ np.reshape(output_hessian, (size, size)) @ j)
    return np.stack(result) + networks.STRENGTH * np.eye(phi.shape[1])


@pytest.mark.parametrize("loss", [problems.mean_squared_error, cross_entropy, hinge])
def test_equals_the_dense_product(loss):
    problem = networks.perceptron(loss)
    inner, phi = networks.inner_problem(problem)
    vectors = networks.directions(phi, 3)
    expected = matrices(problem, inner, phi)
    for v, product in zip(
        vectors, networks.products(graph, GaussNewton(), inner, phi, vectors), strict=True
    ):
        np.testing.assert_allclose(
            product, np.einsum("tij,tj->ti", expected, v), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("relu", marks=pytest.mark.slow),
        pytest.param("max_pooling", marks=pytest.mark.slow),
        "task_batch_normalization",
    ],
)
def test_is_symmetric_and_at_least_the_strength(kind):
    inner, phi = networks.inner_problem(networks.network(kind))
    vectors = networks.directions(phi, 6)
    products = networks.products(graph, GaussNewton(), inner, phi, vectors)
    for v, product in zip(vectors, products, strict=True):
        assert np.all(np.sum(v * product, 1) >= networks.STRENGTH * np.sum(v * v, 1))
    (u, v), (au, av) = vectors[:2], products[:2]
    np.testing.assert_allclose(np.sum(u * av, 1), np.sum(v * au, 1), rtol=1e-10)


def test_is_positive_where_the_hessian_is_not():
    problem = networks.perceptron(problems.mean_squared_error)
    inner, phi = networks.inner_problem(problem)
    phi = 3 * phi
    spectra = []
    for curvature in (GaussNewton(), Hessian()):
        linearization = curvature.linearize(lambda: inner, phi, [])
        spectra.append(np.linalg.eigvalsh(networks.dense(linearization.product, phi)))
    assert spectra[0].min() >= networks.STRENGTH - 1e-9
    assert spectra[1].min() < 0


def test_equals_the_hessian_of_a_linear_network(run):
    inner, phi = networks.inner_problem(problems.LinearRegression(tasks=2))
    vectors = networks.directions(phi)
    product = networks.products(run, GaussNewton(), inner, phi, vectors)
    exact = networks.products(run, Hessian(), inner, phi, vectors)
    np.testing.assert_allclose(product, exact, rtol=1e-10)


def test_single_precision_agrees():
    inner, phi = networks.inner_problem(networks.network("strided_convolution"))
    single, _ = networks.inner_problem(networks.network("strided_convolution", "float32"))
    (v,) = networks.directions(phi, 1)
    (exact,) = networks.products(graph, GaussNewton(), inner, phi, [v])
    (product,) = networks.products(
        graph, GaussNewton(), single, tf.cast(phi, tf.float32), [tf.cast(v, tf.float32)]
    )
    assert networks.relative_error(product, exact) < 1e-3


def test_linearize_gives_the_gradient(run):
    for problem in (networks.perceptron(hinge), networks.network("layer_normalization")):
        inner, phi = networks.inner_problem(problem)
        gradient = run(
            lambda phi, inner=inner: GaussNewton().linearize(lambda: inner, phi, []).gradient, phi
        )
        np.testing.assert_allclose(gradient, inner.gradient(phi), rtol=1e-9, atol=1e-14)


def test_weight_regularizers_enter_with_their_full_hessian():
    loss = problems.mean_squared_error
    plain_inner, phi = networks.inner_problem(networks.perceptron(loss))
    decayed_inner, _ = networks.inner_problem(
        networks.perceptron(loss, regularizer=keras.regularizers.L2(0.5))
    )
    kernel = np.zeros(phi.shape[1])
    kernel[:9] = 1.0
    (v,) = networks.directions(phi, 1)
    (decayed_product,) = networks.products(graph, GaussNewton(), decayed_inner, phi, [v])
    (plain_product,) = networks.products(graph, GaussNewton(), plain_inner, phi, [v])
    np.testing.assert_allclose(decayed_product - plain_product, kernel * v, rtol=1e-9, atol=1e-12)
    gradient = GaussNewton().linearize(lambda: decayed_inner, phi, []).gradient
    np.testing.assert_allclose(gradient, decayed_inner.gradient(phi), rtol=1e-9)


def two_outputs(loss):
    """A network of two outputs, and a loss of both."""
    problem = networks.perceptron(loss)
    inputs = problem.model.inputs[0]
    hidden = problem.model.layers[0](inputs)
    dense = lambda n, name: keras.layers.Dense(n, name=name, dtype="float64")(hidden)  # noqa: E731
    problem.model = keras.Model(inputs, {"a": dense(2, "a"), "b": dense(1, "b")})
    return problem


def test_an_output_without_a_loss_does_not_count():
    problem = two_outputs(lambda y, z: problems.mean_squared_error(y, z["a"]))
    inner, phi = networks.inner_problem(problem)
    (v,) = networks.directions(phi, 1)
    linearization = GaussNewton().linearize(lambda: inner, phi, [])
    np.testing.assert_allclose(linearization.gradient, inner.gradient(phi), rtol=1e-9, atol=1e-14)
    head_b = slice(9 + 3 + 6 + 2, None)  # its weights see the proximal term only
    np.testing.assert_allclose(
        linearization.product(v)[:, head_b], networks.STRENGTH * v[:, head_b], rtol=1e-12
    )


def test_an_output_that_does_not_adapt_does_not_count():
    problem = two_outputs(
        lambda y, z: problems.mean_squared_error(y, z["a"] + z["b"] + z["a"] * z["b"])
    )
    objective = problems.objective_of(problem, adapt="a")
    inner = networks.InnerProblem(
        objective, objective.parameters.theta(), tf.constant(networks.STRENGTH, tf.float64)
    )
    phi = inner.start() + 0.1
    (v,) = networks.directions(phi, 1)
    # With a single linear layer adapted, the network is linear in phi: both curvatures agree.
    (product,) = networks.products(graph, GaussNewton(), inner, phi, [v])
    (exact,) = networks.products(graph, Hessian(), inner, phi, [v])
    np.testing.assert_allclose(product, exact, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*one task after the other")
def test_the_number_of_tasks_may_be_unknown():
    problem = networks.network("dense")
    inner, phi = networks.inner_problem(problem)
    (v,) = networks.directions(phi, 1)
    (expected,) = networks.products(graph, GaussNewton(), inner, phi, [v])

    def product(phi, v, *parts):
        objective = problems.objective_of(problem, tensors=type(problem.tensors)(*parts))
        bound = inner._replace(objective=objective)
        return GaussNewton().linearize(lambda: bound, phi, []).product(v)

    signature = [
        tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (phi, v, *problem.tensors[:4])
    ]
    traced_product = tf.function(product, input_signature=signature, autograph=False)
    np.testing.assert_allclose(
        traced_product(phi, v, *problem.tensors[:4]), expected, rtol=1e-9, atol=1e-12
    )


def test_a_regularizer_of_weights_that_do_not_adapt_does_not_count(run):
    problem = networks.perceptron(
        problems.mean_squared_error, regularizer=keras.regularizers.L2(0.5)
    )
    objective = problems.objective_of(problem, adapt=problem.model.layers[-1].name)
    inner = networks.InnerProblem(
        objective, objective.parameters.theta(), tf.constant(networks.STRENGTH, tf.float64)
    )
    phi = inner.start() + 0.1
    vectors = networks.directions(phi, 1)
    (product,) = networks.products(run, GaussNewton(), inner, phi, vectors)
    (exact,) = networks.products(run, Hessian(), inner, phi, vectors)  # linear in phi: equal
    np.testing.assert_allclose(product, exact, rtol=1e-9)
