"""The implicit meta-gradient against closed forms, finite differences and its known limits."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import problems

CURVATURES = ("hessian", "gauss_newton")


def converged_algorithm(learning_rate=0.1, **arguments):
    """iMAML whose inner and linear problems are solved to rounding."""
    return ki.IMAML(
        inner=ki.inner.GradientDescent(
            steps=6000, learning_rate=learning_rate, momentum=0.9, nesterov=True, tolerance=1e-11
        ),
        linear=ki.linear.ConjugateGradient(max_steps=300, tolerance=1e-13),
        **arguments,
    )


def meta_gradients(run, algorithm, problem, adapt=None, transductive=True, tensors=None):
    """The meta-gradient of each trainable variable, network first, then the algorithm's."""
    objective = problems.objective_of(problem, adapt, transductive)
    if not algorithm.in_use:
        algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]

    def step(*parts):
        bound = problems.objective_of(
            problem, adapt, transductive, tensors=type(problem.tensors)(*parts)
        )
        return algorithm.meta_gradient(bound, variables)

    return run(step, *(problem.tensors if tensors is None else tensors))


@pytest.mark.parametrize(
    ("run", "per", "curvature"),
    [
        *itertools.product(["graph"], ["model", "layer"], CURVATURES),
        pytest.param("graph", "weight", "hessian", marks=pytest.mark.slow),
        pytest.param("eager", "weight", "gauss_newton", marks=pytest.mark.slow),
    ],
    indirect=["run"],
)
def test_equals_the_closed_form_on_a_quadratic(run, curvature, per):
    problem = problems.LinearRegression()
    initial = {"default": 0.7} if per == "layer" else 0.7
    strength = ki.ProximalStrength(initial, per=per, learned=True)
    algorithm = converged_algorithm(proximal_strength=strength, curvature=curvature)
    meta = meta_gradients(run, algorithm, problem)
    for_theta, for_strength = problem.meta_gradients(problem.theta, 0.7)
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), for_theta, rtol=1e-8, atol=1e-9)
    # The variable is the logarithm of lambda: d/d log(lambda) = lambda d/d lambda.
    expected = 0.7 * (for_strength if per == "weight" else for_strength.sum())
    np.testing.assert_allclose(np.squeeze(meta.gradients[1]), expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(meta.diagnostics["inner_residual"], 0, atol=1e-10)
    np.testing.assert_allclose(meta.diagnostics["linear_residual"], 0, atol=1e-10)


@pytest.mark.parametrize(
    ("adapt", "transductive"),
    [
        pytest.param(None, False, marks=pytest.mark.slow),
        pytest.param(["conv_2", "norm_2", "head"], True, marks=pytest.mark.slow),
    ],
)
def test_equals_finite_differences_of_the_outer_objective(adapt, transductive):
    # A smooth activation: a minimum on a kink of ReLU has no derivative to compare with.
    problem = problems.Images(activation="softplus", filters=2)
    algorithm = converged_algorithm(
        learning_rate=2e-3,
        proximal_strength=ki.ProximalStrength(3.0, per="layer", learned=True),
        curvature="hessian",
    )
    run = lambda f, *a: tf.function(f, autograph=False)(*a)  # noqa: E731
    meta = meta_gradients(run, algorithm, problem, adapt, transductive)
    assert meta.diagnostics["inner_residual"] < 1e-7
    assert meta.diagnostics["negative_curvature"] == 0
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
    loss = tf.function(
        lambda: tf.reduce_mean(_query(algorithm, problem, adapt, transductive)), autograph=False
    )
    problems.check_by_differences(loss, variables, meta.gradients)


def _query(algorithm, problem, adapt, transductive):
    objective = problems.objective_of(problem, adapt, transductive)
    return objective.query_losses(algorithm.adapt(objective).phi)[0]


@pytest.mark.parametrize("curvature", CURVATURES)
def test_without_curvature_it_is_the_query_gradient(run, curvature):
    """Where H = 0 the meta-gradient is the query gradient itself: no factor, no shift."""
    problem = problems.LinearRegression()
    flat = problem.tensors._replace(support_x=tf.zeros_like(problem.tensors.support_x))
    meta = meta_gradients(
        run, converged_algorithm(proximal_strength=3.0, curvature=curvature), problem, tensors=flat
    )
    expected = problem.query_gradient(np.tile(problem.theta, (3, 1))).mean(axis=0)
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), expected, rtol=1e-10)
    np.testing.assert_allclose(meta.diagnostics["first_order_cosine"], 1.0, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "curvature", ["gauss_newton", pytest.param("hessian", marks=pytest.mark.slow)]
)
def test_large_strength_is_first_order(curvature):
    run = lambda f, *a: tf.function(f, autograph=False)(*a)  # noqa: E731
    problem = problems.Images()
    algorithm = ki.IMAML(
        proximal_strength=1e8,
        inner=ki.inner.GradientDescent(steps=5, learning_rate=1e-9),
        curvature=curvature,
    )
    meta = meta_gradients(run, algorithm, problem)
    objective = problems.objective_of(problem)
    theta = algorithm.inner_problem(objective).start()
    with tf.GradientTape() as tape:
        tape.watch(theta)
        losses = objective.query_losses(theta)[0]
    first_order = tf.reduce_mean(tape.gradient(losses, theta), axis=0)
    flat = np.concatenate([np.ravel(g) for g in meta.gradients])
    np.testing.assert_allclose(flat, first_order, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), "much", None])
def test_strength_must_be_positive(strength):
    with pytest.raises(ValueError, match="proximal_strength.*do not depend on theta.*Received"):
        ki.IMAML(proximal_strength=strength)


GOOD_TASKS = [0, 1, 2, 4, 5, 6, 7]


def with_and_without_nan(problem):
    """Meta-gradients of 8 tasks: as they are, with NaN in number 3, and of the 7 others alone."""
    algorithm = ki.IMAML(proximal_strength=1.0)
    algorithm.prepare(problems.objective_of(problem).parameters)
    variables = problem.model.trainable_variables

    @tf.function(autograph=False)
    def meta(tensors):
        return algorithm.meta_gradient(problems.objective_of(problem, tensors=tensors), variables)

    x = problem.data.support_x.copy()
    x[3].flat[7] = np.nan
    broken_tensors = problem.tensors._replace(support_x=tf.constant(x))
    remaining_tensors = type(broken_tensors)(
        *(tf.constant(np.delete(part, 3, axis=0)) for part in problem.data[:4])
    )
    return [meta(tensors) for tensors in (problem.tensors, broken_tensors, remaining_tensors)]


@pytest.mark.slow
def test_one_nan_task_leaves_the_other_images_bit_equal():
    problem = problems.Images(tasks=8, dtype="float32")
    clean_result, broken_result, expected_result = with_and_without_nan(problem)
    assert broken_result.valid.numpy().tolist() == [i in GOOD_TASKS for i in range(8)]
    np.testing.assert_array_equal(
        broken_result.per_task.numpy()[GOOD_TASKS], clean_result.per_task.numpy()[GOOD_TASKS]
    )
    # A convolution of 7 groups is split over threads in another way than one of 8.
    np.testing.assert_allclose(
        broken_result.per_task.numpy()[GOOD_TASKS], expected_result.per_task, atol=2e-4
    )
    for gradient, expected_gradient in zip(
        broken_result.gradients, expected_result.gradients, strict=True
    ):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-5)


def test_one_nan_task_leaves_a_smaller_batch_bit_equal():
    problem = problems.LinearRegression(tasks=8, dtype="float32")
    clean_result, broken_result, expected_result = with_and_without_nan(problem)
    assert broken_result.valid.numpy().tolist() == [i in GOOD_TASKS for i in range(8)]
    np.testing.assert_array_equal(
        broken_result.per_task.numpy()[GOOD_TASKS], clean_result.per_task.numpy()[GOOD_TASKS]
    )
    np.testing.assert_array_equal(
        broken_result.per_task.numpy()[GOOD_TASKS], expected_result.per_task
    )
    np.testing.assert_allclose(broken_result.gradients[0], expected_result.gradients[0], rtol=1e-5)


def test_a_diverging_task_is_left_out():
    problem = problems.LinearRegression(tasks=4)
    data = problem.data.support_x.copy()
    data[1] *= 1e200
    huge_tensors = problem.tensors._replace(support_x=tf.constant(data))
    algorithm = ki.IMAML(proximal_strength=1.0)
    run = lambda f, *a: f(*a)  # noqa: E731
    meta = meta_gradients(run, algorithm, problem, tensors=huge_tensors)
    assert meta.valid.numpy().tolist() == [True, False, True, True]
    assert np.all(np.isfinite(meta.gradients[0]))


def test_gauss_newton_refuses_losses_of_probabilities():
    for loss in ("sparse_categorical_crossentropy", keras.losses.CategoricalCrossentropy()):
        with pytest.raises(ValueError, match="not convex.*Received"):
            ki.IMAML(curvature="gauss_newton").check_loss(loss)
        ki.IMAML(curvature="hessian").check_loss(loss)
    ki.IMAML(curvature="gauss_newton").check_loss(problems.Images().loss)
    ki.IMAML(curvature="gauss_newton").check_loss("mse")


@pytest.mark.parametrize("linear", [ki.linear.Dual(), ki.linear.ConjugateGradient()])
@pytest.mark.parametrize("loss", ["mae", keras.losses.MeanAbsoluteError(), "hinge"])
def test_gauss_newton_refuses_losses_without_curvature(loss, linear):
    with pytest.raises(ValueError, match="loss.*no second derivative.*Received.*linear"):
        ki.IMAML(linear=linear).check_loss(loss)
    ki.IMAML(curvature="hessian").check_loss(loss)
    ki.IMAML(linear=linear).check_loss("huber")


@pytest.mark.parametrize(
    ("per", "learned"), [*itertools.product(["model", "layer", "weight"], [True, False])]
)
def test_configuration_round_trip(per, learned):
    algorithm = ki.IMAML(
        proximal_strength=ki.ProximalStrength(0.3, per=per, learned=learned),
        inner=ki.inner.GradientDescent(steps=3),
        linear=ki.linear.ConjugateGradient(max_steps=2),
        curvature="hessian",
    )
    restored_algorithm = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(algorithm)
    )
    assert restored_algorithm.get_config() == algorithm.get_config()
    assert restored_algorithm.inner == algorithm.inner
    assert restored_algorithm.proximal_strength.learned is learned
