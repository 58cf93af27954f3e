"""The inner and outer objective: which examples a prediction sees, and tasks that are invalid."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective
from keras_imaml.objectives.tasks import Tasks
from tests import problems


def changed_query(problem):
    """The data with other query examples, but for the first of each task."""
    x = problem.data.query_x.copy()
    x[:, 1:] = np.random.default_rng(9).uniform(size=x[:, 1:].shape)
    return problem.tensors._replace(query_x=tf.constant(x))


def changed_support(problem):
    x = problem.data.support_x.copy()
    x[:, 1:] = np.random.default_rng(9).uniform(size=x[:, 1:].shape)
    return problem.tensors._replace(support_x=tf.constant(x))


def first_prediction(run, problem, tensors, transductive, training=True):
    def predict(*parts):
        objective = problems.objective_of(
            problem, transductive=transductive, training=training, tensors=Tasks(*parts)
        )
        parameters = objective.parameters
        return objective.query(parameters.broadcast(parameters.theta(), 2)).outputs[:, 0]

    return run(predict, *tensors).numpy()


@pytest.mark.parametrize("training", [True, False])
def test_without_transduction_a_query_example_does_not_see_the_others(run, training):
    problem = problems.Images()
    before = first_prediction(run, problem, problem.tensors, False, training)
    after = first_prediction(run, problem, changed_query(problem), False, training)
    np.testing.assert_allclose(before, after, rtol=1e-12)
    # It sees the support set: the statistics are taken there.
    after = first_prediction(run, problem, changed_support(problem), False, training)
    assert np.abs(before - after).max() > 1e-3


def test_numbers_of_examples_may_be_unknown():
    problem = problems.Images()

    def predict(*parts):
        objective = problems.objective_of(problem, transductive=False, tensors=Tasks(*parts))
        parameters = objective.parameters
        return objective.query(parameters.broadcast(parameters.theta(), 2)).outputs

    signature = [tf.TensorSpec([2, None, *t.shape[2:]], t.dtype) for t in problem.tensors[:4]]
    traced_predict = tf.function(predict, input_signature=signature, autograph=False)
    expected = predict(*problem.tensors[:4])
    assert expected.shape == (2, 9, 3)
    np.testing.assert_allclose(
        traced_predict(*problem.tensors[:4]), expected, rtol=1e-9, atol=1e-12
    )


def test_with_transduction_a_query_example_sees_the_others(run):
    problem = problems.Images()
    before = first_prediction(run, problem, problem.tensors, True)
    after = first_prediction(run, problem, changed_query(problem), True)
    assert np.abs(before - after).max() > 1e-3
    after = first_prediction(run, problem, changed_support(problem), True)
    np.testing.assert_array_equal(before, after)


def test_support_statistics_equal_those_of_a_query_set_that_is_the_support_set():
    problem = problems.Images()
    tensors = problem.tensors._replace(query_x=problem.tensors.support_x)
    objective = problems.objective_of(problem, transductive=False, tensors=tensors)
    phi = objective.parameters.broadcast(objective.parameters.theta(), 2)
    np.testing.assert_allclose(
        objective.query(phi).outputs, objective.support(phi).outputs, rtol=1e-10
    )


def test_losses_are_those_of_the_network_task_by_task(run):
    problem = problems.Images()
    objective = problems.objective_of(problem)
    theta = objective.parameters.theta()
    phi = objective.parameters.broadcast(theta, 2)
    support = run(objective.support_losses, phi)
    query, outputs = run(objective.query_losses, phi)
    for task in range(2):
        x, y = problem.data.support_x[task], problem.data.support_y[task]
        expected = problem.loss(y, problem.model(x))
        np.testing.assert_allclose(support[task], expected, rtol=1e-10)
        z = problem.model(problem.data.query_x[task])
        np.testing.assert_allclose(outputs[task], z, rtol=1e-9, atol=1e-12)
        expected = problem.loss(problem.data.query_y[task], z)
        np.testing.assert_allclose(query[task], expected, rtol=1e-10)


@pytest.mark.parametrize("part", ["support_x", "support_y", "query_x", "query_y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_mark_their_task(part, value):
    problem = problems.LinearRegression()
    broken_data = getattr(problem.data, part).copy()
    broken_data[1].flat[2] = value
    tensors = problem.tensors._replace(**{part: tf.constant(broken_data)})
    objective = problems.objective_of(problem, tensors=tensors)
    assert objective.valid.numpy().tolist() == [True, False, True]
    data = getattr(objective.tasks, part).numpy()
    assert np.all(data[1] == 0)
    np.testing.assert_array_equal(data[[0, 2]], getattr(problem.data, part)[[0, 2]])


def test_labels_are_always_sound():
    problem = problems.Images()
    assert problems.objective_of(problem).valid.numpy().tolist() == [True, True]
    labels_only = Tasks(*(tf.zeros([2, 3], tf.int32) for _ in range(4)))
    level = problems.objective_of(problem).inner
    objective = TaskObjective(level, level, labels_only, True, True)
    assert objective.valid.numpy().tolist() == [True, True]


def test_the_number_of_tasks_is_static_where_it_can_be():
    assert problems.LinearRegression(tasks=3).tensors.count == 3

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def count(x):
        return Tasks(x, x, x, x).count

    assert int(count(tf.zeros([5, 2]))) == 5


@pytest.mark.parametrize("strength", [0.7, np.linspace(0.1, 1.0, 6)])
def test_the_inner_problem_is_the_support_loss_and_the_proximal_term(run, strength):
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    theta = objective.parameters.theta()
    inner = InnerProblem(objective, theta, tf.constant(strength, tf.float64))
    np.testing.assert_array_equal(inner.start(), np.tile(problem.theta, (3, 1)))
    phi = inner.start() + tf.constant(np.random.default_rng(0).normal(size=(3, 6)))
    displacement = phi - problem.theta
    left = np.einsum("tni,ti->tn", problem.data.support_x, phi) - problem.data.support_y[..., 0]
    expected = np.mean(left**2, 1) + 0.5 * np.sum(strength * displacement**2, 1)
    np.testing.assert_allclose(run(inner.value, phi), expected, rtol=1e-10)
    expected = (
        np.einsum("tij,tj->ti", problem.hessian, phi) - problem.linear + strength * displacement
    )
    np.testing.assert_allclose(run(inner.gradient, phi), expected, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_the_value():
    problem = problems.Images()
    objective = problems.objective_of(problem)
    inner = InnerProblem(objective, objective.parameters.theta(), tf.constant(0.5, tf.float64))
    phi = inner.start() + 0.1
    with tf.GradientTape() as tape:
        tape.watch(phi)
        value = inner.value(phi)
    np.testing.assert_allclose(
        inner.gradient(phi), tape.gradient(value, phi), rtol=1e-9, atol=1e-12
    )


def test_regularizers_enter_both_losses():
    problem = problems.LinearRegression()
    plain = problems.objective_of(problem)
    problem.model = keras.Sequential(
        [
            keras.Input((6,), dtype="float64"),
            keras.layers.Dense(1, use_bias=False, dtype="float64", kernel_regularizer="l2"),
        ]
    )
    decayed = problems.objective_of(problem)
    phi = tf.ones([3, 6], tf.float64)
    for losses in (lambda o: o.support_losses(phi), lambda o: o.query_losses(phi)[0]):
        np.testing.assert_allclose(losses(decayed) - losses(plain), [0.06] * 3, rtol=1e-6)


def test_no_query_example_is_counted_with_those_of_the_support_set():
    problem = problems.Images()
    tasks, examples = problem.tensors.support_y.shape[:2]
    weights = np.ones([tasks, examples])
    weights[0, 1:] = 0
    tensors = problem.tensors._replace(support_weights=tf.constant(weights))
    objective = problems.objective_of(problem, transductive=False, tensors=tensors)
    joined_inputs, rows, mask = objective.joined_inputs()
    queries = problem.tensors.query_y.shape[1]
    assert int(rows) == examples
    assert joined_inputs.shape[1] == examples + queries
    expected = np.concatenate([weights > 0, np.zeros([tasks, queries], bool)], axis=1)
    np.testing.assert_array_equal(mask, expected)
    unweighted = problems.objective_of(problem, transductive=False)
    assert unweighted.joined_inputs()[2] is None
