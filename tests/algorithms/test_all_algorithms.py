"""One battery over all algorithms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import problems

ALGORITHMS = {
    "imaml": lambda: ki.IMAML(1.0, ki.inner.GradientDescent(steps=3)),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(steps=3)),
    "fomaml": lambda: ki.MAML(ki.inner.GradientDescent(steps=3), first_order=True),
    "reptile": lambda: ki.Reptile(ki.inner.GradientDescent(steps=3)),
}


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return ALGORITHMS[request.param]()


def meta_gradient(run, algorithm, problem, tensors=None):
    algorithm.prepare(problems.objective_of(problem).parameters)
    variables = problem.model.trainable_variables

    def step(*parts):
        tasks = type(problem.tensors)(*parts)
        objective = problems.objective_of(problem, tensors=tasks)
        return algorithm.meta_gradient(objective, variables)

    return run(step, *(problem.tensors if tensors is None else tensors))


def test_the_gradient_is_the_mean_over_tasks(run, algorithm):
    problem = problems.LinearRegression()
    meta = meta_gradient(run, algorithm, problem)
    mean = tf.reduce_mean(meta.per_task, axis=0)
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), mean, rtol=1e-9)


def test_names_of_the_diagnostics_are_declared(run, algorithm):
    meta = meta_gradient(run, algorithm, problems.LinearRegression())
    assert set(meta.diagnostics) == set(algorithm.diagnostics)
    assert all(np.isfinite(value) for value in meta.diagnostics.values())


@pytest.mark.parametrize("kind", ["nan", "huge"])
def test_a_bad_task_leaves_the_others_untouched(run, algorithm, kind):
    problem = problems.LinearRegression(tasks=5)
    clean = meta_gradient(run, algorithm, problem)
    x = problem.data.support_x.copy()
    x[2] = np.nan if kind == "nan" else x[2] * 1e200
    bad = meta_gradient(
        run, algorithm, problem, tensors=problem.tensors._replace(support_x=tf.constant(x))
    )
    good = [0, 1, 3, 4]
    assert bad.sound.numpy().tolist() == [i in good for i in range(5)]
    np.testing.assert_array_equal(bad.per_task.numpy()[good], clean.per_task.numpy()[good])
    expected = clean.per_task.numpy()[good].mean(axis=0)
    np.testing.assert_allclose(np.ravel(bad.gradients[0]), expected, rtol=1e-9)


def test_configuration_round_trip(algorithm):
    config = keras.saving.serialize_keras_object(algorithm)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(algorithm)
    assert restored.get_config() == algorithm.get_config()


@pytest.mark.parametrize("transductive", [True, False])
def test_maml_equals_finite_differences(transductive):
    problem = problems.Images(activation="softplus")
    algorithm = ki.MAML(ki.inner.GradientDescent(steps=3, learning_rate=0.05))
    objective = problems.objective_of(problem, transductive=transductive)
    algorithm.prepare(objective.parameters)
    variables = problem.model.trainable_variables
    step = tf.function(lambda: algorithm.meta_gradient(objective, variables), autograph=False)
    meta = step()
    rng = np.random.default_rng(0)
    for variable, gradient in zip(variables, meta.gradients, strict=True):
        direction = rng.normal(size=variable.shape)
        start, values = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-6 * direction)
            values.append(float(tf.reduce_mean(step().query_losses)))
        variable.assign(start)
        measured = (values[0] - values[1]) / 2e-6
        assert float(np.sum(gradient * direction)) == pytest.approx(measured, rel=1e-5, abs=1e-8)


def test_first_order_is_the_query_gradient_at_the_adapted_weights():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    algorithm = ALGORITHMS["fomaml"]()
    algorithm.prepare(objective.parameters)
    meta = algorithm.meta_gradient(objective, problem.model.trainable_variables)
    phi = algorithm.adapt(objective).phi.numpy()
    np.testing.assert_allclose(meta.per_task, problem.query_gradient(phi), rtol=1e-9)
    assert not np.allclose(phi, problem.theta)


def test_implicit_equals_unrolled_at_convergence():
    problem = problems.LinearRegression()
    objective = problems.objective_of(problem)
    variables = problem.model.trainable_variables
    inner = ki.inner.GradientDescent(steps=600, learning_rate=0.1)
    implicit = ki.IMAML(0.7, inner, ki.linear.ConjugateGradient(max_steps=50))
    implicit.prepare(objective.parameters)
    unrolled = ki.MAML(inner, proximal_strength=0.7)
    unrolled.prepare(objective.parameters)
    np.testing.assert_allclose(
        unrolled.meta_gradient(objective, variables).gradients[0],
        implicit.meta_gradient(objective, variables).gradients[0],
        rtol=1e-6,
    )


def test_reptile_moves_towards_the_minimum_of_all_examples():
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


def test_maml_refuses_solvers_that_it_cannot_differentiate():
    with pytest.raises(ValueError, match="can be differentiated.*Received"):
        ki.MAML(ki.inner.NewtonCG())
