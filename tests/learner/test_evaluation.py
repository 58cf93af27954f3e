"""Evaluation over tasks: the figures, the interval, and what is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners, problems


@pytest.fixture
def learner():
    meta_learner = ki.MetaLearner(
        ki.models.MLP(3, input_shape=(4,), hidden=(8,)),
        ki.IMAML(inner=ki.inner.GradientDescent(steps=5)),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    meta_learner.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return meta_learner


def episodes(count=10, seed=0):
    rng = np.random.default_rng(seed)
    x = lambda n: rng.normal(size=(count, n, 4)).astype("float32")  # noqa: E731
    y = lambda n: np.tile(np.arange(3, dtype="int32"), (count, n // 3))  # noqa: E731
    return (x(3), y(3)), (x(6), y(6))


def dataset(data):
    return tf.data.Dataset.from_tensor_slices(data)


@pytest.mark.slow
def test_figures_equal_those_of_one_task_at_a_time(learner):
    data = episodes()
    result = ki.evaluate(learner, dataset(data).batch(4), num_tasks=10, verbose=False)
    accuracies, losses = [], []
    for (support_x, support_y), (query_x, query_y) in dataset(data).as_numpy_iterator():
        logits = learner.adapt_and_predict(support_x, support_y, query_x).numpy()
        accuracies.append(np.mean(logits.argmax(axis=1) == query_y))
        losses.append(float(learner.loss(query_y, logits)))
    assert result.tasks == 10
    assert result.accuracy == pytest.approx(np.mean(accuracies))
    assert result.ci95 == pytest.approx(1.96 * np.std(accuracies) / np.sqrt(10))
    of_metric = {"value": result.accuracy, "ci95": result.ci95, "before": result.accuracy_before}
    assert result.metrics == {"accuracy": pytest.approx(of_metric)}
    assert json.loads(json.dumps(result.metrics)) == result.metrics
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    before = np.argmax(learner.predict(data[1][0].reshape(-1, 4), verbose=0), axis=1)
    assert result.accuracy_before == pytest.approx(np.mean(before == data[1][1].ravel()))


def test_the_last_batch_is_cut(learner):
    data = dataset(episodes()).batch(4)
    assert ki.evaluate(learner, data, num_tasks=7, verbose=False).tasks == 7


def test_bad_tasks_are_counted_and_left_out(learner):
    clean_episodes, broken_episodes = episodes(), episodes()
    broken_episodes[1][0][2, 1, 1] = np.nan
    result = ki.evaluate(learner, dataset(broken_episodes).batch(5), num_tasks=10, verbose=False)
    remaining_episodes = tuple(
        tuple(np.delete(part, 2, axis=0) for part in pair) for pair in clean_episodes
    )
    expected = ki.evaluate(
        learner, dataset(remaining_episodes).batch(5), num_tasks=9, verbose=False
    )
    assert (result.tasks, result.bad_tasks) == (9, 1)
    assert result.accuracy == pytest.approx(expected.accuracy)


def test_too_few_tasks_are_refused(learner):
    with pytest.raises(ValueError, match="ended after 10 tasks. Expected 11"):
        ki.evaluate(learner, dataset(episodes()).batch(4), num_tasks=11, verbose=False)


@pytest.mark.slow
def test_only_bad_tasks_are_refused(learner):
    (support_x, support_y), query = episodes()
    broken_episodes = ((support_x * np.nan, support_y), query)
    with pytest.raises(ValueError, match="None of the 10 tasks could be evaluated"):
        ki.evaluate(learner, dataset(broken_episodes).batch(5), num_tasks=10, verbose=False)


@pytest.mark.slow
def test_a_regression_has_no_accuracy():
    meta_learner = ki.MetaLearner(
        ki.models.MLP(), ki.IMAML(inner=ki.inner.GradientDescent(steps=2))
    )
    meta_learner.compile(optimizer="adam", loss="mse")
    result = ki.evaluate(meta_learner, ki.data.sinusoid().batch(4), num_tasks=8, verbose=False)
    assert result.accuracy is None
    assert "before adaptation" in str(result)


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_mode_is_in_the_text(fixed):
    """No query sees another where all tasks are normalized by the same statistics."""
    meta_learner = learners.compiled(learners.small(2, fixed_statistics=fixed))
    data = learners.dataset(learners.images(tasks=2))
    assert "non-transductive" in str(ki.evaluate(meta_learner, data, 2, verbose=False))
    meta_learner.transductive = True
    expected = ", non-transductive" if fixed else ", transductive"
    assert expected in str(ki.evaluate(meta_learner, data, 2, verbose=False))


@pytest.mark.slow
def test_labels_in_a_column_are_labels(learner):
    (x, y), (query_x, query_y) = episodes()
    evaluate = lambda *data: ki.evaluate(learner, dataset(data).batch(5), 10, 0)  # noqa: E731
    flat = evaluate((x, y), (query_x, query_y))
    column = evaluate((x, y[..., None]), (query_x, query_y[..., None]))
    assert column.accuracy == flat.accuracy is not None


def test_the_graph_is_kept_for_the_next_time(learner):
    for seed in range(3):
        ki.evaluate(learner, dataset(episodes(seed=seed)).batch(5), 10, verbose=0)
    assert learner._evaluation.graphs.traces == 1
    learner.transductive = True
    assert learner._evaluation is None


@pytest.mark.parametrize("kind", ["uncompiled", "plain"])
def test_what_cannot_be_evaluated_is_refused(kind):
    model = ki.models.MLP(1)
    wrong_learner = model if kind == "plain" else ki.MetaLearner(model, ki.MAML())
    with pytest.raises(ValueError, match="Invalid value for `learner`.*compiled.*Received"):
        ki.evaluate(wrong_learner, ki.data.sinusoid("test").batch(2), 2)


def test_one_task_has_no_interval(learner):
    result = ki.evaluate(learner, dataset(episodes()).batch(5), num_tasks=1, verbose=False)
    assert np.isnan(result.ci95) and np.isnan(result.loss_ci95)
    assert "(1 task, non-transductive, interval unknown)" in str(result)


@pytest.mark.slow
def test_a_table_of_the_tasks_with_their_certificates():
    """On linear regression, where both residuals have a closed form."""
    problem = problems.LinearRegression(tasks=4, dtype="float64")
    steps, rate, strength = 3, 0.05, 0.5
    inner = ki.inner.GradientDescent(steps, rate)
    linear = ki.linear.ConjugateGradient(max_steps=2, tolerance=0.0)
    learner = ki.MetaLearner(problem.model, ki.IMAML(strength, inner, linear))
    learner.compile(loss=keras.losses.MeanSquaredError(dtype="float64"), metrics=["mae"])
    x, y, query_x, query_y = problem.data[:4]
    query_x[3, 0, 0] = np.nan
    data = dataset(((x, y), (query_x, query_y))).batch(2)
    table = ki.evaluate(learner, data, num_tasks=4, verbose=0, per_task=True)
    assert {column.shape for column in table.values()} == {(4,)}  # as pandas.DataFrame takes it
    assert {"loss", "loss_before", "metric/mae", "before/metric/mae"} <= set(table)
    np.testing.assert_array_equal(table["valid"], [True, True, True, False])
    phi = theta = np.broadcast_to(problem.theta, (4, 6))
    norms = []
    for step in range(steps + 1):
        gradient = np.einsum("tij,tj->ti", problem.hessian, phi) - problem.linear
        gradient = gradient + strength * (phi - theta)
        norms.append(np.linalg.norm(gradient, axis=1))
        phi = phi - rate * gradient if step < steps else phi
    np.testing.assert_allclose(table["inner_residual"][:3], (norms[-1] / norms[0])[:3], rtol=1e-9)
    assert all(np.isnan(column[3]) for name, column in table.items() if name != "valid")
    system = problem.hessian + strength * np.eye(6)
    rhs = np.nan_to_num(problem.query_gradient(phi))
    for task in range(3):  # two steps of conjugate gradient: the best of a plane
        plane = np.stack([rhs[task], system[task] @ rhs[task]], 1)
        small, right = plane.T @ system[task] @ plane, plane.T @ rhs[task]
        left = rhs[task] - system[task] @ (plane @ np.linalg.solve(small, right))
        expected = np.linalg.norm(left) / np.linalg.norm(rhs[task])
        assert table["linear_residual"][task] == pytest.approx(expected, rel=1e-6)
    short = ki.evaluate(learner, data, num_tasks=3, verbose=0)
    assert short.loss == pytest.approx(table["loss"][:3].mean())


@pytest.mark.parametrize("algorithm", [pytest.param(ki.MAML, marks=pytest.mark.slow), ki.Reptile])
def test_certificates_of_other_algorithms_are_at_the_end_of_the_inner_loop(algorithm):
    problem = problems.LinearRegression(tasks=2, dtype="float64")
    learner = ki.MetaLearner(problem.model, algorithm(ki.inner.GradientDescent(2, 0.05)))
    learner.compile(loss=keras.losses.MeanSquaredError(dtype="float64"))
    x, y, *query = problem.data[:4]
    table = ki.evaluate(learner, dataset(((x, y), tuple(query))).batch(2), 2, 0, per_task=True)
    theta = np.broadcast_to(problem.theta, (2, 6))
    slope = lambda phi: np.einsum("tij,tj->ti", problem.hessian, phi) - problem.linear  # noqa: E731
    phi = theta - 0.05 * slope(theta)
    phi = phi - 0.05 * slope(phi)
    expected = np.linalg.norm(slope(phi), axis=1) / np.linalg.norm(slope(theta), axis=1)
    np.testing.assert_allclose(table["inner_residual"], expected, rtol=1e-9)
    assert ("inner_steps" in table) == (algorithm is ki.MAML)
