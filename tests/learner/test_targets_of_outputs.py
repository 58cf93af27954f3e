"""Networks of several outputs take targets, losses and metrics as Keras takes them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._utils.outputs import losses_of_outputs, targets_of_outputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 3)).astype("float32")
CLASSES = RNG.integers(0, 2, (2, 4))
NUMBERS = RNG.normal(size=(2, 4, 1)).astype("float32")


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(kind, integers=False):
    """The outputs are named against the order of the alphabet."""
    inputs = keras.Input((3,))
    z = keras.layers.Dense(2, name="z")(inputs)
    b = keras.layers.Dense(1, name="b")(inputs)
    if integers:
        b = keras.ops.cast(z[:, 1] > z[:, 0], "int32")
    return keras.Model(inputs, [z, b] if kind == "list" else {"z": z, "b": b})


CASES = {
    "lists": ("list", [cross_entropy(), "mse"], (CLASSES, NUMBERS), None),
    "a dict of losses for a list": (
        "list",
        {"b": "mse", "z": cross_entropy()},
        (CLASSES, NUMBERS),
        None,
    ),
    "a dict of targets for a list": (
        "list",
        [cross_entropy(), "mse"],
        {"b": NUMBERS, "z": CLASSES},
        None,
    ),
    "dicts for a list": (
        "list",
        {"b": "mse", "z": cross_entropy()},
        {"b": NUMBERS, "z": CLASSES},
        {"b": ["mae"], "z": ["accuracy"]},
    ),
    "dicts": ("dict", {"z": cross_entropy(), "b": "mse"}, {"z": CLASSES, "b": NUMBERS}, None),
    "lists for a dict": ("dict", ["mse", cross_entropy()], (NUMBERS, CLASSES), None),
    "a list of targets for a dict": (
        "dict",
        {"z": cross_entropy(), "b": "mse"},
        (NUMBERS, CLASSES),
        None,
    ),
    "no loss for one": ("list", [cross_entropy(), None], (CLASSES, NUMBERS), [["accuracy"], []]),
    "no loss for the first": ("list", [None, "mse"], (CLASSES, NUMBERS), None),
    "no key for one": ("dict", {"b": "mse"}, {"z": CLASSES, "b": NUMBERS}, None),
    "targets for one": ("list", [cross_entropy(), None], CLASSES, None),
    "targets for the second": ("list", [None, "mse"], NUMBERS, None),
    "targets by name for one": ("dict", {"b": "mse"}, {"b": NUMBERS}, None),
    "None for one": ("list", [cross_entropy(), None], (CLASSES, None), None),
}


def of_task(part, task):
    return keras.tree.map_structure(lambda x: None if x is None else x[task], part)


def learner_of(model, loss, metrics=None, **settings):
    learner = ki.MetaLearner(model, ki.MAML(ki.inner.GradientDescent(0)))
    learner.compile("sgd", loss, metrics=metrics, run_eagerly=True, **settings)
    return learner


QUICK = {"dicts for a list", "no loss for one"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_the_losses_are_those_of_keras(name):
    kind, loss, y, metrics = CASES[name]
    model = network(kind)
    learner = learner_of(model, loss, metrics)
    logs = learner.evaluate((X, y), (X, y), verbose=0, return_dict=True)
    model.compile("sgd", loss, metrics=metrics, run_eagerly=True)
    # Every task has as many examples, so that the means of Keras over all of them are the same.
    rows = keras.tree.map_structure(lambda v: None if v is None else v.reshape(-1, *v.shape[2:]), y)
    expected = model.evaluate(X.reshape(-1, 3), rows, verbose=0, return_dict=True)
    assert {k: float(logs[k]) for k in expected} == pytest.approx(expected, rel=1e-5)


def padded(part):
    """With two examples more, which are not there."""

    def with_rows(x):
        if x is None:
            return None
        filler = np.nan if x.dtype.kind == "f" else -1
        return np.concatenate([x, np.full_like(x[:, :2], filler)], axis=1)

    return keras.tree.map_structure(with_rows, part)


PADDED = ["lists for a dict", "no loss for the first", "targets by name for one", "None for one"]


@pytest.mark.parametrize(
    "name", [*sorted(QUICK), *(pytest.param(name, marks=pytest.mark.slow) for name in PADDED)]
)
def test_a_padded_task_is_the_task(name):
    kind, loss, y, metrics = CASES[name]
    learner = learner_of(network(kind), loss, metrics)
    expected = learner.test_on_batch(((X, y), (X, y)), return_dict=True)
    weights = np.float32([[1, 1, 1, 1, 0, 0]] * 2)
    padded_set = (padded(X), padded(y), weights)
    logs = learner.test_on_batch((padded_set, padded_set), return_dict=True)
    assert logs == pytest.approx(expected, rel=1e-5)
    task = [of_task(part, 0) for part in padded_set]
    np.testing.assert_allclose(
        learner.adapt_weights(task[0], task[1], sample_weight=task[2]),
        learner.adapt_weights(X[0], of_task(y, 0)),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "algorithm",
    [pytest.param(a, marks=pytest.mark.slow) for a in (ki.IMAML, ki.MAML)],
)
def test_an_integer_output_trains_with_the_other_outputs(algorithm):
    model = network("dict", integers=True)
    learner = ki.MetaLearner(model, algorithm(inner=ki.inner.GradientDescent(1, 0.1)))
    learner.compile("sgd", {"z": cross_entropy()}, metrics={"b": "mae"})
    y = {"z": CLASSES, "b": CLASSES}
    history = learner.fit((X, y), (X, y), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["b_mae"][0] <= 1
    outputs = learner.adapt_and_predict(X[0], of_task(y, 0), X[0])
    assert outputs["b"].dtype.is_integer
    np.testing.assert_array_equal(
        outputs["b"], tf.argmax(outputs["z"], axis=-1, output_type="int32")
    )


def test_metrics_of_an_output_without_targets_are_refused():
    learner = learner_of(network("dict"), {"z": cross_entropy()}, {"b": ["mae"]})
    with pytest.raises(ValueError, match=r"Expected metrics of outputs that have targets.*\['b'\]"):
        learner.evaluate((X, {"z": CLASSES}), (X, {"z": CLASSES}), verbose=0)


@pytest.mark.slow
def test_metrics_task_by_task_take_the_same_targets():
    y = {"b": NUMBERS, "z": CLASSES}
    learner = learner_of(network("list"), [cross_entropy(), None], {"z": ["accuracy"]})
    metrics = ki.evaluate(learner, [((X, y), (X, y))], num_tasks=2).metrics
    expected = learner.evaluate((X, y), (X, y), verbose=0, return_dict=True)["z_accuracy"]
    assert metrics["z_accuracy"]["value"] == pytest.approx(expected)


def test_class_numbers_are_checked_for_each_output():
    learner = learner_of(network("list"), ["mse", cross_entropy()])
    with pytest.raises(ValueError, match="Expected class numbers from 0 to 0. Received: .* 1"):
        learner.adapt(X[0], (np.zeros((4, 2)), np.ones(4, int)))


def test_what_fits_in_no_way_is_left_to_keras():
    outputs = [1, 2]
    assert targets_of_outputs((1, 2, 3), outputs, ["a", "b"], "mse") == (1, 2, 3)
    assert targets_of_outputs({"c": 1}, outputs, ["a", "b"], [None, "mse"]) == [None, 1]
    assert targets_of_outputs(7, 1, ["a"], "mse") == 7
    assert losses_of_outputs({"b": "mse"}, outputs, ["a", "b"]) == [None, "mse"]
