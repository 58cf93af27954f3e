"""Reptile: its direction, and what it looks at."""

import numpy as np

import keras_imaml as ki
from tests import problems


def test_it_moves_towards_the_minimum_of_all_examples():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.Reptile(ki.inner.GradientDescent(steps=1, learning_rate=0.1))
    algorithm.prepare(objective.parameters)
    meta = algorithm.meta_gradient(objective, problem.model.trainable_variables)
    x = np.concatenate([problem.data.support_x, problem.data.query_x], axis=1)
    y = np.concatenate([problem.data.support_y, problem.data.query_y], axis=1)
    left = np.einsum("tni,i->tn", x, problem.theta) - y[..., 0]
    gradient = 2 / x.shape[1] * np.einsum("tni,tn->ti", x, left)
    np.testing.assert_allclose(meta.per_task, 0.1 * gradient, rtol=1e-9)


def test_evaluation_adapts_to_the_support_set_alone():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ki.Reptile(ki.inner.GradientDescent(steps=1, learning_rate=0.1))
    algorithm.prepare(objective.parameters)
    gradient = np.einsum("tij,j->ti", problem.hessian, problem.theta) - problem.linear
    np.testing.assert_allclose(
        algorithm.adapt(objective).phi, problem.theta - 0.1 * gradient, rtol=1e-9
    )


def test_weights_that_do_not_adapt_stay():
    problem = problems.Images()
    objective = problems.objective_of(problem, adapt="head")
    algorithm = ki.Reptile(ki.inner.Adam(steps=2))
    algorithm.prepare(objective.parameters)
    gradients = algorithm.meta_gradient(objective, problem.model.trainable_variables).gradients
    assert [g is not None for g in gradients[-2:]] == [True, True]
    assert all(g is None for g in gradients[:-2])
