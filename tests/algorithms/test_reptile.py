"""Reptile: its direction, and what it looks at."""

import numpy as np
import pytest

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


def test_weights_that_would_never_be_learned_are_refused():
    model = problems.Images().model
    with pytest.raises(ValueError, match="`adapt`.*Freeze them.*conv_1/kernel"):
        ki.MetaLearner(model, ki.Reptile(), adapt="head")
    for layer in model.layers[:-1]:
        layer.trainable = False
    learner = ki.MetaLearner(model, ki.Reptile())
    assert learner.parameters.shared == []
    assert learner._objectives.trunk is None  # support and query are normalized as one set
