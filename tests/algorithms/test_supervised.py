"""Training without adaptation: its gradient, and what it looks at."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners, problems


def test_its_gradient_is_that_of_the_query_loss_at_theta(run):
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.algorithms.Supervised()
    algorithm.prepare(objective.parameters)
    variables = problem.model.trainable_variables

    def per_task(*tensors):
        tasks = type(problem.tensors)(*tensors)
        task_objective = problems.objective_of(problem, tensors=tasks)
        return algorithm.meta_gradient(task_objective, variables).per_task

    x, y = problem.data.query_x, problem.data.query_y[..., 0]
    left = np.einsum("tni,i->tn", x, problem.theta) - y
    gradient = 2 / x.shape[1] * np.einsum("tni,tn->ti", x, left)
    np.testing.assert_allclose(run(per_task, *problem.tensors), gradient, rtol=1e-9)


@pytest.mark.parametrize("adapt", [None, "head"])
def test_a_step_is_that_of_a_classifier_in_keras(adapt):
    """Whether or not the layers before the head are evaluated apart from it."""
    model = learners.small()
    (x, y), (query_x, query_y) = learners.images(tasks=1)
    before = [v.numpy() for v in model.trainable_variables]
    loss = learners.cross_entropy()
    with tf.GradientTape() as tape:
        value = loss(query_y[0], model(query_x[0], training=True))
    gradients = tape.gradient(value, model.trainable_variables)
    learner = learners.compiled(
        model,
        ki.algorithms.Supervised(),
        optimizer=keras.optimizers.SGD(0.5),
        adapt=adapt,
        transductive=True,
    )
    learner.train_on_batch((x, y), (query_x, query_y))
    for old, new, gradient in zip(before, model.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.5 * gradient, rtol=1e-4, atol=1e-6)


def test_evaluation_adapts_to_the_support_set():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.algorithms.Supervised(ki.inner.GradientDescent(steps=1, learning_rate=0.1))
    algorithm.prepare(objective.parameters)
    gradient = np.einsum("tij,j->ti", problem.hessian, problem.theta) - problem.linear
    np.testing.assert_allclose(
        algorithm.adapt(objective).phi, problem.theta - 0.1 * gradient, rtol=1e-9
    )


def test_a_loss_cannot_be_learned_without_adaptation():
    with pytest.raises(ValueError, match="learned_loss.*None.*nothing adapts"):
        ki.algorithms.Supervised().check_learned_loss()
