"""What a learner makes of padded tasks: steps, metrics, evaluations, adaptation, exports."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners, padded

pytestmark = pytest.mark.usefixtures("in_double_precision")


def with_metrics():
    return {
        "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        "weighted_metrics": [
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nll")
        ],
    }


def imaml():
    return ki.IMAML(1.0, ki.inner.GradientDescent(2, 0.1))


def tasks_and_padded(weighted=False):
    data = padded.tasks(weighted=weighted)
    return data, padded.padded(data)


@pytest.mark.slow
def test_steps_evaluations_and_metrics_are_those_of_the_tasks():
    results = []
    for data in tasks_and_padded(weighted=True):
        learner = padded.learner_of(imaml(), metrics=with_metrics())
        trained = learner.train_on_batch(*data, return_dict=True)
        tested = learner.test_on_batch(*data, return_dict=True)
        evaluation = ki.evaluate(learner, learners.dataset(data), num_tasks=2, verbose=0)
        theta = learner.parameters.theta().numpy()
        results.append((trained, tested, evaluation, theta))
    (trained, tested, evaluation, theta), (trained_2, tested_2, evaluation_2, theta_2) = results
    assert trained.keys() == trained_2.keys()
    for logs, logs_2 in ((trained, trained_2), (tested, tested_2)):
        np.testing.assert_allclose(
            list(logs_2.values()), list(logs.values()), rtol=1e-9, atol=1e-12
        )
    assert trained["bad_tasks"] == 0 and "nll" in trained
    np.testing.assert_allclose(theta_2, theta, rtol=1e-12, atol=1e-12)
    assert evaluation_2.tasks == evaluation.tasks == 2
    for name in ("loss", "loss_before", "accuracy", "accuracy_before"):
        assert getattr(evaluation_2, name) == pytest.approx(getattr(evaluation, name), rel=1e-10)
    assert evaluation_2.metrics["nll"]["value"] == pytest.approx(
        evaluation.metrics["nll"]["value"], rel=1e-10
    )


@pytest.mark.parametrize(
    ("part_index", "weights"),
    [
        (0, [[0] * 4, [1] * 4]),
        (1, [[0] * 3, [1] * 3]),
        (0, [[1, 1, -1, 1], [1] * 4]),
        (1, [[1, np.nan, 1], [1] * 3]),
        (0, [[1, np.inf, 1, 1], [1] * 4]),
    ],
)
def test_a_task_without_examples_or_with_senseless_weights_is_invalid(part_index, weights):
    learner = padded.learner_of(imaml())
    data = [list(part) for part in padded.tasks()]
    data[part_index].append(np.array(weights, float))
    objective = learner.objective(tuple(map(tuple, data)), training=True)
    assert objective.valid.numpy().tolist() == [False, True]
    for weights in (objective.tasks.support_weights, objective.tasks.query_weights):
        assert np.all(np.isfinite(weights))


@pytest.mark.slow
def test_a_bad_task_is_counted_and_adds_nothing():
    data = padded.padded(padded.tasks())
    partly_empty_data = tuple((x, y, np.where([[True], [False]], 0.0, w)) for x, y, w in data)
    learner = padded.learner_of(imaml())
    logs = learner.train_on_batch(*partly_empty_data, return_dict=True)
    assert logs["bad_tasks"] == 0.5
    reference_learner = padded.learner_of(imaml())
    reference_learner.train_on_batch(
        *(tuple(part[1:] for part in one_set) for one_set in padded.tasks())
    )
    np.testing.assert_allclose(
        learner.parameters.theta(), reference_learner.parameters.theta(), rtol=1e-10
    )


@pytest.mark.slow
def test_a_padded_task_is_adapted_like_its_unpadded_task():
    data, larger = tasks_and_padded(weighted=True)
    learner = padded.learner_of(imaml())
    (x, y, weights), (query_x, _, _) = (tuple(p[0] for p in part) for part in data)
    (x_2, y_2, weights_2), _ = (tuple(p[0] for p in part) for part in larger)
    adapted = [
        learner.adapt(*task[:2], sample_weight=task[2])
        for task in ((x, y, weights), (x_2, y_2, weights_2))
    ]
    expected = adapted[0].predict(query_x, verbose=0)
    np.testing.assert_allclose(adapted[1].predict(query_x, verbose=0), expected, rtol=1e-10)
    outputs = learner.adapt_and_predict(x_2, y_2, query_x, sample_weight=weights_2)
    np.testing.assert_allclose(outputs, expected, rtol=1e-9)
    request = ki.serving_request(x, y, query_x, sample_weight=weights)
    assert '"adapt_and_predict_weighted"' in request and '"sample_weight"' in request


@pytest.mark.slow
def test_a_learner_is_exported_with_and_without_weights(tmp_path):
    learner = padded.learner_of(imaml())
    (x, y, weights), (query_x, _, _) = (
        tuple(p[0] for p in part) for part in tasks_and_padded(True)[1]
    )
    learner.export(str(tmp_path), verbose=False, sample_weight=True)
    served_model = tf.saved_model.load(str(tmp_path))
    labels = y.astype("int32")
    query_x = query_x[padded.PRESENT["query"][0]]
    answer = served_model.adapt_and_predict_weighted(x, labels, query_x, weights)["logits"]
    expected = learner.adapt_and_predict(x, y, query_x, sample_weight=weights)
    np.testing.assert_allclose(answer, expected, rtol=1e-9)
    present = weights > 0
    answer = served_model.adapt_and_predict(x[present], labels[present], query_x)["logits"]
    np.testing.assert_allclose(answer, learner.adapt_and_predict(x[present], y[present], query_x))


@pytest.mark.parametrize(
    "weights", [[1, 1, 1], [[1, 1, 1, 1]], [0, 0, 0, 0], [1, -1, 1, 1], [1, np.nan, 1, 1]]
)
def test_weights_of_one_task_that_do_not_fit_are_refused(weights):
    learner = padded.learner_of(imaml())
    (x, y), (query_x, _) = (tuple(p[0] for p in part) for part in padded.tasks())
    with pytest.raises(ValueError, match="weight"):
        learner.adapt_and_predict(x, y, query_x, sample_weight=np.array(weights, float))


def test_what_keras_would_weigh_is_refused_with_the_way_out():
    learner = padded.learner_of(imaml())
    data = padded.tasks()
    with pytest.raises(ValueError, match="class_weight.*support_weights"):
        learner.fit(learners.dataset(data), steps_per_epoch=1, class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(ValueError, match="sample_weight.*support_weights"):
        learner.train_on_batch(*data, sample_weight=np.ones(2))
    (x, y), query = data
    for weights in (np.ones([2, 3]), np.ones([2, 4, 1]), np.ones([3, 4])):
        with pytest.raises(ValueError, match="support_weights"):
            learner.train_on_batch((x, y, weights), query)


def test_activity_regularizers_are_refused():
    model = padded.network()
    model.get_layer("last").activity_regularizer = keras.regularizers.L2(0.1)
    learner = ki.MetaLearner(model, imaml())
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="'last'.*activity_regularizer"):
        learner.train_on_batch(*padded.padded(padded.tasks()))


@pytest.mark.slow
def test_a_learned_loss_counts_only_present_examples():
    results = []
    for data in tasks_and_padded():
        keras.utils.set_random_seed(1)
        learned = ki.LearnedLoss(ki.models.MLP(2, (2,), hidden=(3,), dtype="float64"))
        learner = padded.learner_of(imaml(), classes=2, learned_loss=learned)
        learner.train_on_batch(*data)
        results.append([np.ravel(v) for v in learner.trainable_variables])
    np.testing.assert_allclose(*map(np.concatenate, results), rtol=1e-10, atol=1e-12)
