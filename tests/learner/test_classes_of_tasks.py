"""Tasks of different numbers of classes in one meta-batch, served by a tied head."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import padded

pytestmark = pytest.mark.usefixtures("in_double_precision")

WAYS = (2, 4)  # of the two tasks, for a head of four classes
INNER = ki.inner.GradientDescent(4, 0.1)  # "auto" looks at the length of all of the head


def learned():
    return ki.ProximalStrength(4.0, learned=True)


ALGORITHMS = {
    "imaml": lambda: ki.IMAML(1.0, INNER),
    "hessian": lambda: ki.IMAML(learned(), INNER, curvature="hessian"),
    "dual": lambda: ki.IMAML(learned(), INNER, linear=ki.linear.Dual()),
    "neumann": lambda: ki.IMAML(1.0, INNER, linear=ki.linear.Neumann()),
    "adam": lambda: ki.IMAML(1.0, ki.inner.Adam(2)),
    "newton_cg": lambda: ki.IMAML(1.0, ki.inner.NewtonCG(2)),
    "lbfgs": lambda: ki.IMAML(1.0, ki.inner.LBFGS(3)),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1)),
    "reptile": lambda: ki.Reptile(INNER),
    # The classes of a task are counted where they are balanced.
    "balanced": lambda: ki.SelfTraining(ki.IMAML(1.0, INNER), rounds=1, balanced=True),
}
CASES = [
    ("imaml", "head"),
    ("hessian", None),
    ("dual", None),
    ("neumann", "head"),
    ("adam", "head"),
    ("newton_cg", None),
    ("lbfgs", "head"),
    ("maml", "head"),
    ("reptile", None),
    ("balanced", "head"),
]


def learner_of(algorithm, classes=4, loss=None, bias=True, **settings):
    keras.utils.set_random_seed(0)
    exact = {"dtype": "float64"}
    inputs = keras.Input((2,), **exact)
    x = keras.layers.Dense(3, activation="tanh", name="hidden", **exact)(inputs)
    x = ki.layers.TaskBatchNormalization(name="norm", **exact)(x)
    head = ki.layers.TiedDense(
        classes, kernel_initializer="glorot_uniform", use_bias=bias, name="head", **exact
    )
    learner = ki.MetaLearner(keras.Model(inputs, head(x)), algorithm, **settings)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return learner


def data(one_hot=False):
    """Two tasks of 4 support and 3 query examples, the first without the last classes."""
    (x, _), (query_x, _) = padded.tasks()
    y = np.array([[0, 1, 1, 0], [3, 1, 2, 0]])
    query_y = np.array([[1, 0, 1], [0, 3, 2]])
    if one_hot:
        y, query_y = np.eye(4)[y], np.eye(4)[query_y]
    return (x, y), (query_x, query_y)


def one_task(number):
    return tuple(tuple(part[number : number + 1] for part in one_set) for one_set in data())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "adapt"), CASES)
def test_a_task_of_fewer_classes_is_that_of_a_smaller_head(name, adapt):
    """Its losses and outputs, and the meta-gradient is the sum of those of the tasks."""
    learner = learner_of(ALGORITHMS[name](), adapt=adapt)
    result = padded.meta(learner, padded.padded(data()))
    assert result.valid.numpy().tolist() == [True, True]
    sums = [np.zeros(v.shape) for v in learner.trainable_variables]
    for number, way in enumerate(WAYS):
        smaller_learner = ki.with_classes(learner, way)
        expected = padded.meta(smaller_learner, one_task(number))
        padded.close(result.query_losses[number], expected.query_losses[0])
        present = padded.PRESENT["query"][number]
        outputs = result.query_outputs[number][present].numpy()
        padded.close(outputs[:, :way], expected.query_outputs[0])
        assert np.all(outputs[:, way:] < -1e4)
        for total, part in zip(sums, expected.sums, strict=True):
            part = np.asarray(part)
            total[tuple(map(slice, part.shape))] += part
    for total, part in zip(sums, result.sums, strict=True):
        padded.close(part, total)


def test_one_hot_labels_determine_the_classes():
    numbers = learner_of(ki.IMAML(1.0, INNER)).objective(padded.padded(data()), training=True)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    one_hot = learner_of(ki.IMAML(1.0, INNER), loss=loss).objective(
        data(one_hot=True), training=True
    )
    np.testing.assert_array_equal(numbers.tasks.classes, WAYS)
    np.testing.assert_array_equal(one_hot.tasks.classes, WAYS)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)},
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)},
        {"loss": "mse"},
        {"bias": False},
    ],
)
def test_other_losses_and_heads_count_all_outputs(settings):
    """Label smoothing would give classes without a logit an infinite loss."""
    learner = learner_of(ki.IMAML(1.0, INNER), **settings)
    one_hot = not isinstance(settings.get("loss"), keras.losses.SparseCategoricalCrossentropy)
    one_hot = one_hot and "loss" in settings
    tasks = learner.objective(data(one_hot=one_hot), training=True).tasks
    assert not tf.is_tensor(tasks.classes)
    with pytest.raises(ValueError, match=r"`way`\. Expected one number.*TiedDense.*way=\(2, 4\)"):
        learner.fit(tasks_of_arrays(), steps_per_epoch=1)


def tasks_of_arrays(**settings):
    x = np.random.default_rng(0).normal(size=(30, 2)).astype("float32")
    way = settings.pop("way", (2, 4))
    return (
        ki.data.from_arrays(x, np.repeat(np.arange(6), 5), way, (1, 3), 2, **settings)
        .batch(4)
        .prefetch(1)
    )


@pytest.mark.slow
def test_a_learner_trains_and_is_evaluated_on_drawn_tasks_of_any_way():
    learner = learner_of(ki.IMAML(1.0, INNER))
    history = learner.fit(tasks_of_arrays(buckets=2), steps_per_epoch=2, verbose=0).history
    assert history["bad_tasks"] == [0.0] and np.isfinite(history["loss"][0])
    table = ki.evaluate(learner, tasks_of_arrays(), num_tasks=8, verbose=0, per_task=True)
    assert table["valid"].all()


def test_a_head_with_weights_for_each_class_is_refused_for_drawn_ways():
    learner = padded.learner_of(ki.IMAML(1.0, INNER), classes=6)
    for use in (
        lambda: learner.fit(tasks_of_arrays(), steps_per_epoch=1),
        lambda: learner.fit(tasks_of_arrays(buckets=2), steps_per_epoch=1),
        lambda: learner.evaluate(tasks_of_arrays(), steps=1),
        lambda: ki.evaluate(learner, tasks_of_arrays(), num_tasks=4),
    ):
        with pytest.raises(ValueError, match=r"`way`.*tied_head=True.*way=\(2, 4\)"):
            use()


def test_more_classes_than_outputs_are_refused():
    for learner in (learner_of(ki.IMAML(1.0, INNER)), padded.learner_of(ki.IMAML(1.0, INNER))):
        with pytest.raises(
            ValueError, match=r"`way`\. Expected at most [24] classes.*way=\(5, 5\)"
        ):
            learner.evaluate(tasks_of_arrays(way=5), steps=1)


@pytest.mark.slow
def test_such_a_head_takes_one_number_of_classes_and_labels_of_the_pool():
    learner = padded.learner_of(ki.IMAML(1.0, INNER), classes=6)
    learner.fit(tasks_of_arrays(way=4), steps_per_epoch=1, verbose=0)
    learner.evaluate(tasks_of_arrays(class_labels=True), steps=1, verbose=0)


@pytest.mark.slow
def test_an_adapted_model_predicts_the_classes_of_its_task():
    learner = learner_of(ki.IMAML(1.0, INNER))
    (x, y), (query_x, _) = (tuple(p[0] for p in part) for part in data())
    expected = ki.with_classes(learner, 2).adapt_and_predict(x, y, query_x)
    for weights in (None, np.ones(4)):
        model = learner.adapt(x, y, sample_weight=weights)
        for outputs in (
            model.predict(query_x, verbose=0),
            learner.adapt_and_predict(x, y, query_x, sample_weight=weights),
        ):
            np.testing.assert_allclose(outputs[:, :2], expected, rtol=1e-6)
            assert np.all(np.asarray(outputs)[:, 2:] < -1e4)
