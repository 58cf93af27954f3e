"""A meta-batch in parts gives what it gives as a whole."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.algorithms.query_gradient import query_gradient
from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.batching.caches import tasks_in_caches
from keras_imaml.learner.meta_batch import meta_gradient, outcome
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives import meta_batch_plan
from keras_imaml.objectives.meta_batch_plan import MetaBatchPlan
from keras_imaml.objectives.task_objective import NetworkAndLoss, TaskObjective
from keras_imaml.objectives.tasks import Tasks
from tests import problems

CASES = {
    "imaml": (lambda: ki.IMAML(1.0), problems.LinearRegression, None),
    "maml": (lambda: ki.MAML(), problems.LinearRegression, None),
    "reptile": (lambda: ki.Reptile(), problems.LinearRegression, None),
    "shared_weights": (
        lambda: ki.IMAML(ki.ProximalStrength(1.0, learned=True)),
        problems.Images,
        "head",
    ),
}


def results_of_parts(case, tensors=None, split=2, lanes=1):
    """The meta-gradient of the whole and of parts."""
    algorithm, problem, adapt = CASES[case]
    algorithm, problem = algorithm(), problem(tasks=6)
    objective = problems.objective_of(problem, adapt=adapt)
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
    tensors = tensors(problem.tensors) if tensors else problem.tensors

    @tf.function(autograph=False)
    def step(limit, lanes):
        objective = problems.objective_of(problem, adapt=adapt, tensors=tensors)
        with mock.patch.object(meta_batch_plan, "pipelines", return_value=lanes):
            return meta_gradient(algorithm, objective, variables, limit)

    return step(None, 1), step(split, lanes)


def assert_equal(expected, result):
    for a, b in zip(expected.gradients, result.gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(expected.query_losses, result.query_losses, rtol=1e-10)
    np.testing.assert_allclose(expected.query_outputs, result.query_outputs, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(expected.valid, result.valid)
    for name, value in expected.diagnostics.items():
        np.testing.assert_allclose(value, result.diagnostics[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    "case",
    [
        "imaml",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("maml", "reptile", "shared_weights")),
    ],
)
def test_chunks_give_the_meta_gradient_of_the_meta_batch(case):
    expected, result = results_of_parts(case)
    assert_equal(expected, result)
    assert result.per_task is None


@pytest.mark.slow
def test_a_bad_task_counts_in_no_part():
    def with_nan(tensors):
        x = tensors.support_x.numpy()
        x[3] = np.nan
        return tensors._replace(support_x=tf.constant(x))

    expected, result = results_of_parts("imaml", with_nan, split=3)
    assert result.valid.numpy().tolist() == [True, True, True, False, True, True]
    assert_equal(expected, result)


@pytest.mark.parametrize(
    ("case", "lanes"),
    [
        pytest.param("maml", 2, marks=pytest.mark.slow),
        pytest.param("reptile", 4, marks=pytest.mark.slow),
        pytest.param("shared_weights", 4, marks=pytest.mark.slow),
    ],
)
def test_pipelines_side_by_side_give_what_one_gives(case, lanes):
    """6 tasks in 4 pipelines: parts of 1 and of 2 tasks."""
    assert_equal(*results_of_parts(case, split=None, lanes=lanes))


@pytest.mark.slow
def test_pipelines_of_tasks_that_are_not_counted_before():
    """4 pipelines for 1, 3 or 6 tasks: some have nothing to do."""
    algorithm, problem, adapt = CASES["shared_weights"]
    algorithm, problem = algorithm(), problem(tasks=6)
    objective = problems.objective_of(problem, adapt=adapt)
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]

    def step(lanes, tensors):
        with mock.patch.object(meta_batch_plan, "pipelines", return_value=lanes):
            objective = problems.objective_of(problem, adapt=adapt, tensors=tensors)
            return meta_gradient(algorithm, objective, variables, None)

    specification = tf.nest.map_structure(
        lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), problem.tensors
    )
    signature = {"input_signature": [specification], "autograph": False}
    single_step = tf.function(lambda t: step(1, t), **signature)
    parallel_step = tf.function(lambda t: step(4, t), **signature)
    for tasks in (1, 3, 6):
        tensors = tf.nest.map_structure(lambda x, n=tasks: x[:n], problem.tensors)
        assert_equal(single_step(tensors), parallel_step(tensors))


def objective_of_zeros(tasks):
    """5-way 1-shot images of Conv4-64: about 16 tasks fit the caches."""
    model = ki.models.Conv4(5)
    network = TaskNetwork(model, Parameters(model))
    level = NetworkAndLoss(network, TaskLoss(lambda y, z: tf.reduce_mean(z), "float32"))
    x, y = tf.zeros([tasks, 5, 28, 28, 1]), tf.zeros([tasks, 5], tf.int32)
    return TaskObjective(level, level, Tasks(x, y, x, y), True, False)


@pytest.mark.parametrize(
    ("tasks", "limit", "lanes", "expected"),
    [
        (16, None, 1, (None, 1)),
        (16, None, 4, (4, 4)),
        (2, None, 4, (1, 2)),
        (16, 8, 2, (4, 2)),
        (16, 1, 2, (1, 1)),
        (256, None, 2, (16, 2)),  # what the caches hold
        (34, None, 2, (17, 2)),  # 17 tasks have no parts of a useful size
    ],
)
def test_chunks_count_the_tasks_of_all_pipelines(monkeypatch, tasks, limit, lanes, expected):
    monkeypatch.setattr(meta_batch_plan, "pipelines", lambda: lanes)
    plan = objective_of_zeros(tasks).planned(limit).plan
    chunk_size, number = expected
    assert plan.lanes == number
    in_lane = tasks // number
    assert plan.at_once(in_lane) == (None if chunk_size in (None, in_lane) else chunk_size)


@pytest.mark.parametrize("adapt", [True, False])
def test_chunks_give_the_outcome_of_the_meta_batch(adapt):
    problem = problems.LinearRegression(tasks=4)
    objective = problems.objective_of(problem, training=False)
    algorithm = ki.IMAML(1.0)
    algorithm.prepare(objective.parameters)
    expected, result = (
        tf.function(lambda n=n: outcome(algorithm, objective, n, adapt), autograph=False)()
        for n in (None, 1)
    )
    for a, b in zip(expected, result, strict=True):
        np.testing.assert_allclose(tf.cast(a, "float64"), tf.cast(b, "float64"), rtol=1e-9)


@pytest.mark.parametrize(
    ("plan", "tasks", "chunk_size"),
    [
        (MetaBatchPlan(), 16, None),
        (MetaBatchPlan(limit=16), 16, None),
        (MetaBatchPlan(limit=5), 16, 4),
        (MetaBatchPlan(limit=3), 7, 1),  # whatever it costs
        (MetaBatchPlan(fits=3), 7, 1),
        (MetaBatchPlan(fits=5), 7, None),  # single tasks would be far smaller than the caches
        (MetaBatchPlan(fits=16), 16, None),
        (MetaBatchPlan(1, None, None, 4).for_queries, 16, 4),
    ],
)
def test_parts_divide_the_number_of_tasks(plan, tasks, chunk_size):
    assert plan.at_once(tasks) == chunk_size
    assert plan.splits(tasks) == (chunk_size is not None)


def test_numbers_that_are_known_when_the_graph_runs():
    assert MetaBatchPlan(limit=3).at_once(tf.constant(6)) == 1
    assert MetaBatchPlan(fits=3).at_once(tf.constant(6)) is None


def test_caches_hold_a_few_tasks_of_large_activations():
    network = ki.models.Conv4(5)
    assert tasks_in_caches(network, 75) == 1
    assert 8 <= tasks_in_caches(network, 5) <= 16
    assert tasks_in_caches(ki.models.MLP(), 10) > 256
    assert tasks_in_caches(network, None) is None


@pytest.mark.slow
def test_a_learner_may_be_given_more_tasks_than_fit():
    from tests import learners

    weights = []
    for limit in (None, 2):
        keras.utils.set_random_seed(0)
        optimizer = keras.optimizers.SGD(0.1)
        learner = learners.compiled(tasks_per_chunk=limit, optimizer=optimizer)
        learner.fit(learners.dataset(learners.images()), steps_per_epoch=2, verbose=0)
        weights.append(learner.parameters.theta())
        logs = learner.evaluate(learners.dataset(learners.images()), steps=1, verbose=0)
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-5)
    assert np.all(np.isfinite(logs))
    assert learner.get_config()["tasks_per_chunk"] == 2


@pytest.mark.parametrize("value", [0, -1, 2.5, "all"])
def test_sizes_that_mean_nothing_are_refused(value):
    with pytest.raises(ValueError, match="tasks_per_chunk.*at least 1"):
        ki.MetaLearner(ki.models.MLP(), ki.IMAML(), tasks_per_chunk=value)


@pytest.mark.parametrize("chunk_size", [1, 2])
@pytest.mark.parametrize("adapt", [None, "head"])
def test_query_sets_in_chunks_give_the_same_gradient(chunk_size, adapt):
    problem = problems.Images(tasks=4, dtype="float32")
    objective = problems.objective_of(problem, adapt=adapt)
    phi = objective.parameters.broadcast(objective.parameters.theta(), 4)
    phi += 0.01 * tf.random.stateless_normal(phi.shape, [1, 2])
    valid = tf.constant([True, True, False, True])

    def gradient(plan):
        variables = problem.model.trainable_variables
        planned = dataclasses.replace(objective, plan=plan)
        return tf.function(
            lambda: query_gradient(planned, phi, valid, variables), autograph=False
        )()

    expected, result = gradient(MetaBatchPlan()), gradient(MetaBatchPlan(queries_fit=chunk_size))
    assert result.valid.numpy().tolist() == [True, True, False, True]
    np.testing.assert_allclose(expected.losses, result.losses, rtol=1e-5)
    np.testing.assert_allclose(expected.outputs, result.outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(expected.for_phi, result.for_phi, rtol=1e-3, atol=1e-5)
    for a, b in zip(expected.direct, result.direct, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
