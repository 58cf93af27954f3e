"""One battery over all algorithms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import problems

ALGORITHMS = {
    "imaml": lambda: ki.IMAML(1.0, ki.inner.GradientDescent(steps=3)),
    "released_imaml": lambda: ki.algorithms.ReleasedIMAML(1.0, ki.inner.GradientDescent(3, 0.1)),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(steps=3)),
    "maml_recomputed": lambda: ki.MAML(ki.inner.GradientDescent(steps=3), recompute=True),
    "meta_sgd": lambda: ki.MAML(ki.inner.GradientDescent(3, ki.LearningRate(0.1))),
    "fomaml": lambda: ki.MAML(ki.inner.GradientDescent(steps=3), first_order=True),
    "reptile": lambda: ki.Reptile(ki.inner.GradientDescent(steps=3)),
    "self_training": lambda: ki.SelfTraining(ki.IMAML(1.0, ki.inner.GradientDescent(steps=3))),
    "supervised": lambda: ki.algorithms.Supervised(ki.inner.GradientDescent(steps=3)),
}


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return ALGORITHMS[request.param]()


def step_of(algorithm, problem):
    """The meta-gradient as a function of the parts of a meta-batch."""
    algorithm.prepare(problems.objective_of(problem).parameters)
    variables = problem.model.trainable_variables

    def step(*parts):
        tasks = type(problem.tensors)(*parts)
        objective = problems.objective_of(problem, tensors=tasks)
        return algorithm.meta_gradient(objective, variables)

    return step


def test_the_gradient_is_the_mean_over_tasks_and_diagnostics_are_declared(run, algorithm):
    problem = problems.LinearRegression()
    meta = run(step_of(algorithm, problem), *problem.tensors)
    mean = tf.reduce_mean(meta.per_task, axis=0)
    np.testing.assert_allclose(np.ravel(meta.gradients[0]), mean, rtol=1e-9)
    assert set(meta.diagnostics) == set(algorithm.diagnostics)
    assert all(np.isfinite(value) for value in meta.diagnostics.values())


@pytest.mark.parametrize("traced", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_bad_task_leaves_other_tasks_unchanged(traced, algorithm):
    problem = problems.LinearRegression(tasks=5)
    step = step_of(algorithm, problem)
    step = tf.function(step, autograph=False) if traced else step
    meta_gradient = step(*problem.tensors)
    good_tasks = [0, 1, 3, 4]
    expected = meta_gradient.per_task.numpy()[good_tasks].mean(axis=0)
    for spoil in (lambda x: np.nan * x, lambda x: 1e200 * x):
        x, query_x = problem.data.support_x.copy(), problem.data.query_x.copy()
        x[2] = spoil(x[2])
        if isinstance(algorithm, ki.algorithms.Supervised):  # which does not see support sets
            query_x[2] = spoil(query_x[2])
        broken_inputs = {"support_x": tf.constant(x), "query_x": tf.constant(query_x)}
        broken_meta_gradient = step(*problem.tensors._replace(**broken_inputs))
        assert broken_meta_gradient.valid.numpy().tolist() == [i in good_tasks for i in range(5)]
        np.testing.assert_array_equal(
            broken_meta_gradient.per_task.numpy()[good_tasks],
            meta_gradient.per_task.numpy()[good_tasks],
        )
        np.testing.assert_allclose(np.ravel(broken_meta_gradient.gradients[0]), expected, rtol=1e-9)


def test_configuration_round_trip(algorithm):
    config = keras.saving.serialize_keras_object(algorithm)
    restored_algorithm = keras.saving.deserialize_keras_object(config)
    assert type(restored_algorithm) is type(algorithm)
    assert restored_algorithm.get_config() == algorithm.get_config()


def test_one_algorithm_serves_one_learner(algorithm):
    ki.MetaLearner(ki.models.MLP(), algorithm)
    with pytest.raises(ValueError, match="algorithm.*one of its own.*Received"):
        ki.MetaLearner(ki.models.MLP(), algorithm)


STRONGLY_CONVEX = ki.inner.GradientDescent(
    learning_rate=0.1, momentum="strongly_convex", nesterov=True
)
LEARNED_RATE = ki.inner.GradientDescent(learning_rate=ki.LearningRate(0.1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ki.MAML(STRONGLY_CONVEX), "momentum.*no"),
        (lambda: ki.MAML(STRONGLY_CONVEX, proximal_strength=0.0), "convexity.*none"),
        (lambda: ki.Reptile(STRONGLY_CONVEX), "convexity.*none"),
        (lambda: ki.IMAML(1.0, LEARNED_RATE), "learned=False"),
        (lambda: ki.Reptile(LEARNED_RATE), "learned=False"),
        (lambda: ki.MAML(LEARNED_RATE, first_order=True), "learned=False"),
        (lambda: ki.MAML(ki.inner.NewtonCG()), "can be differentiated"),
        (
            lambda: ki.MAML(ki.inner.GradientDescent(tolerance=1e-3), recompute=True),
            "tolerance=0.0",
        ),
        (lambda: ki.IMAML(0.0), "do not depend on theta"),
        (lambda: ki.IMAML(-1.0), "do not depend on theta"),
        (lambda: ki.MAML(proximal_strength=-1.0), "at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused_with_the_reason(make, reason):
    with pytest.raises(ValueError, match=f"Invalid value for.*{reason}.*Received"):
        make()
