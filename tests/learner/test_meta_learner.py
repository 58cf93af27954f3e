"""`MetaLearner`: fit, evaluate, adapt, save and load, and what it refuses."""

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners

FIT = {"verbose": 0}


def perceptron(outputs=3, name="mlp", **settings):
    return ki.models.MLP(outputs, (4,), hidden=(6,), name=name, **settings)


def vectors(tasks=4, seed=0, way=3, query=2):
    """A meta-batch of random vectors of 4 numbers, with labels."""
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.normal(size=(tasks, n, 4)).astype("float32")  # noqa: E731
    labels = lambda n: np.tile(np.arange(way, dtype="int32"), (tasks, n))  # noqa: E731
    return (draw(way), labels(1)), (draw(way * query), labels(query))


def small(model=None, **settings):
    """A learner of vectors: quick to trace."""
    return learners.compiled(model or perceptron(), **settings)


def data(tasks=4):
    return learners.dataset(*(vectors(tasks, seed) for seed in range(4)))


def numbers(learner):
    return [v.numpy() for v in learner.variables]


DIAGNOSTICS = {
    "loss",
    "accuracy",
    "inner_residual",
    "inner_steps",
    "linear_residual",
    "linear_steps",
    "negative_curvature",
    "first_order_cosine",
    "bad_tasks",
    "proximal_strength",
    "transductive",
}


def test_fit_reports_loss_metrics_and_diagnostics():
    learner = learners.compiled()
    tasks = learners.dataset(learners.images(), learners.images(seed=1))
    before = numbers(learner.model)
    history = learner.fit(
        tasks, steps_per_epoch=2, epochs=2, validation_data=tasks, validation_steps=1, **FIT
    ).history
    validation = {"val_loss", "val_accuracy", "val_bad_tasks", "val_transductive"}
    assert set(history) == DIAGNOSTICS | validation
    assert all(len(values) == 2 and np.all(np.isfinite(values)) for values in history.values())
    assert history["bad_tasks"] == [0, 0]
    assert history["proximal_strength"] == pytest.approx([1, 1])
    assert history["linear_steps"] == [2, 2]
    changes = [np.any(a != b) for a, b in zip(before, numbers(learner.model), strict=True)]
    trained = [id(v) for v in learner.model.trainable_variables]
    assert changes == [id(v) in trained for v in learner.model.variables]


@pytest.mark.slow
def test_the_loss_of_sinusoids_falls():
    tasks = ki.data.sinusoid(shot=10, query=10, seed=0).batch(16, drop_remainder=True)
    learner = ki.MetaLearner(
        ki.models.MLP(hidden=(20, 20)),
        ki.IMAML(
            proximal_strength=0.5,
            inner=ki.inner.GradientDescent(steps=10, learning_rate=0.01),
        ),
    )
    learner.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    loss = learner.fit(tasks, steps_per_epoch=20, epochs=4, **FIT).history["loss"]
    assert loss[-1] < 0.7 * loss[0]


@pytest.mark.slow
def test_fit_and_evaluate_agree_on_a_learner_that_does_not_change():
    learner = small(rate=0.0)
    history = learner.fit(data(), steps_per_epoch=4, **FIT).history
    evaluation = learner.evaluate(data(), steps=4, verbose=0, return_dict=True)
    assert set(evaluation) == {"loss", "accuracy", "bad_tasks", "transductive"}
    assert history["loss"][0] == pytest.approx(float(evaluation["loss"]), rel=1e-5)
    assert history["accuracy"][0] == pytest.approx(float(evaluation["accuracy"]))


def test_the_loss_is_that_of_tasks_adapted_one_by_one():
    learner = small()
    support, query = vectors()
    result = learner.evaluate(data(), steps=1, verbose=0, return_dict=True)
    losses, hits = [], []
    for task in range(4):
        z = learner.adapt_and_predict(support[0][task], support[1][task], query[0][task])
        losses.append(float(learner.loss(query[1][task], z)))
        hits.append(np.mean(np.argmax(z, -1) == query[1][task]))
    assert float(result["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(result["accuracy"]) == pytest.approx(np.mean(hits))


@pytest.mark.slow
def test_eager_and_graph_runs_agree():
    results = []
    for run_eagerly in (False, True):
        keras.utils.set_random_seed(0)
        learner = small(run_eagerly=run_eagerly, adapt="head")
        history = learner.fit(data(), steps_per_epoch=3, **FIT).history
        results.append((history, numbers(learner)))
    (graph_history, graph_numbers), (eager_history, eager_numbers) = results
    for name in graph_history:
        assert graph_history[name] == pytest.approx(eager_history[name], rel=1e-4, abs=1e-6), name
    for a, b in zip(graph_numbers, eager_numbers, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_is_traced_once(monkeypatch):
    traces = {"train": 0, "test": 0}

    class Counting(ki.MetaLearner):
        def train_step(self, data):
            traces["train"] += 1
            return super().train_step(data)

        def test_step(self, data):
            traces["test"] += 1
            return super().test_step(data)

    def counting():
        learner = Counting(perceptron(), learners.imaml())
        learner.compile(optimizer="adam", loss=learners.cross_entropy(), metrics=["accuracy"])
        return learner

    learner = counting()
    settings = {"validation_data": data(), "validation_steps": 2, **FIT}
    learner.fit(data(), steps_per_epoch=3, epochs=3, **settings)
    learner.fit(data(), steps_per_epoch=3, epochs=2, **settings)
    assert traces == {"train": 1, "test": 1}
    counting().train_on_batch(*vectors())
    assert traces == {"train": 2, "test": 1}


@pytest.mark.slow
def test_a_task_with_nan_is_counted_and_left_out():
    """Of losses and metrics; of steps: tests/test_numbers_gone_wrong.py."""
    clean_tasks, broken_tasks = vectors(tasks=8), vectors(tasks=8)
    broken_tasks[0][0][3, 1, 2] = np.nan
    remaining_tasks = tuple(tuple(np.delete(p, 3, 0) for p in pair) for pair in clean_tasks)
    learner = small(adapt="head", rate=0.0)
    history = learner.fit(learners.dataset(broken_tasks), steps_per_epoch=1, **FIT).history
    evaluation, expected = (
        learner.evaluate(learners.dataset(batch), steps=1, verbose=0, return_dict=True)
        for batch in (broken_tasks, remaining_tasks)
    )
    assert history["bad_tasks"] == evaluation["bad_tasks"] * np.ones(1) == [0.125]
    assert expected["bad_tasks"] == 0
    for name in ("loss", "accuracy"):
        assert history[name][0] == pytest.approx(float(expected[name]), rel=1e-4)
        assert float(evaluation[name]) == pytest.approx(float(expected[name]), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("adapt", "part"), [(None, 0), ("head", 1)])
def test_a_task_that_overflows_leaves_the_weights_finite(adapt, part):
    batch = vectors(tasks=8)
    batch[part][0][3] *= 1e30
    learner = small(adapt=adapt)
    history = learner.fit(learners.dataset(batch), steps_per_epoch=3, **FIT).history
    assert all(np.all(np.isfinite(value)) for value in numbers(learner))
    assert np.all(np.isfinite(history["loss"]))


@pytest.mark.slow
def test_a_batch_of_bad_tasks_alone_changes_nothing_and_has_no_loss():
    batch = vectors()
    batch[0][0][:] = np.nan
    learner = small()
    before = numbers(learner.model)
    tasks = learners.dataset(batch)
    history = learner.fit(
        tasks, steps_per_epoch=1, validation_data=tasks, validation_steps=1, **FIT
    ).history
    assert history["bad_tasks"] == history["val_bad_tasks"] == [1]
    # Not 0, which would be the best of all.
    assert np.isnan(history["loss"]).all() and np.isnan(history["val_loss"]).all()
    for a, b in zip(before, numbers(learner.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_do_not_adapt_are_learned_and_so_is_the_strength():
    strength = ki.ProximalStrength(1.0, per="layer", learned=True)
    learner = small(algorithm=learners.imaml(proximal_strength=strength), adapt="head")
    support, query = vectors()
    before = numbers(learner.model)
    lambdas = strength.value().numpy()
    learner.fit(data(), steps_per_epoch=2, **FIT)
    after = numbers(learner.model)
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert np.all(strength.value().numpy() != lambdas)
    adapted = learner.adapt(support[0][0], support[1][0])
    are_equal = [np.array_equal(a, b) for a, b in zip(after, numbers(adapted), strict=True)]
    assert are_equal == [True, True, False, False]


@pytest.mark.slow
def test_a_saved_learner_resumes_training(tmp_path):
    strength = ki.ProximalStrength(1.0, learned=True)
    learner = small(algorithm=learners.imaml(proximal_strength=strength), transductive=True)
    learner.fit(data(), steps_per_epoch=2, **FIT)
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.saving.load_model(tmp_path / "learner.keras")
    assert type(loaded_learner) is ki.MetaLearner
    for config in ("get_config", "get_compile_config"):
        settings, loaded_settings = (
            json.dumps(getattr(source, config)()) for source in (learner, loaded_learner)
        )
        assert settings == loaded_settings
    assert loaded_learner.transductive
    for a, b in zip(learner.variables, loaded_learner.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    optimizers = (learner.optimizer.variables, loaded_learner.optimizer.variables)
    assert len(optimizers[0]) > 4
    for a, b in zip(*optimizers, strict=True):
        np.testing.assert_array_equal(a, b)
    support, query = vectors()
    task = support[0][0], support[1][0], query[0][0]
    np.testing.assert_array_equal(
        learner.adapt_and_predict(*task), loaded_learner.adapt_and_predict(*task)
    )
    for trained_learner in (learner, loaded_learner):
        trained_learner.fit(data(), steps_per_epoch=2, **FIT)
    for a, b in zip(learner.variables, loaded_learner.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_configuration_round_trip():
    learner = ki.MetaLearner(
        perceptron(), learners.imaml(), adapt=("head", "bias"), transductive=True, name="ours"
    )
    restored_learner = ki.MetaLearner.from_config(learner.get_config())
    assert restored_learner.name == "ours"
    assert restored_learner.get_config() == learner.get_config()


def test_a_predicate_is_saved_as_the_weights_that_it_selects():
    learner = ki.MetaLearner(perceptron(), learners.imaml(), adapt=lambda v: "bias" in v.name)
    assert learner.get_config()["adapt"] == [1, 3]  # their places: paths may change
    restored_learner = ki.MetaLearner.from_config(learner.get_config())
    assert [v.path for v in restored_learner.parameters.adapted] == ["hidden_1/bias", "head/bias"]


@pytest.mark.slow
def test_transduction_can_be_switched_at_any_time():
    layers = [keras.layers.Dense(6), ki.layers.TaskBatchNormalization(), keras.layers.Dense(3)]
    learner = small(keras.Sequential([keras.Input((4,)), *layers]))
    tasks = learners.dataset(vectors())
    results = []
    for transductive in (False, True, False):
        learner.transductive = transductive
        results.append(learner.evaluate(tasks, steps=1, verbose=0, return_dict=True))
    assert [r["transductive"] for r in results] == [0, 1, 0]
    assert results[0]["loss"] == results[2]["loss"]
    assert abs(results[0]["loss"] - results[1]["loss"]) > 1e-3


def test_compiling_again_takes_the_new_loss():
    learner = small()
    support, _ = vectors()
    task = support[0][0], support[1][0]
    one_hot = np.eye(3, dtype="float32")[task[1]]
    first = learner.adapt_weights(*task)
    learner.compile(optimizer="sgd", loss="mse")
    second = learner.adapt_weights(task[0], one_hot)
    assert np.abs(first - second).max() > 1e-4
    learner.compile(optimizer="sgd", loss=learners.cross_entropy())
    np.testing.assert_allclose(learner.adapt_weights(*task), first, rtol=1e-5, atol=1e-6)
    # Eagerly too, where the shapes do not tell the losses apart.
    query = vectors()[1][0][0]
    before = learner.adapt_and_predict(*task, query)
    learner.compile(optimizer="sgd", loss=lambda y, z: -learners.cross_entropy()(y, z))
    assert np.abs(learner.adapt_and_predict(*task, query) - before).max() > 1e-4


def one_hot(batch):
    (support_x, support_y), (query_x, query_y) = batch
    return (support_x, np.eye(3, dtype="float32")[support_y]), (
        query_x,
        np.eye(3, dtype="float32")[query_y],
    )


def cubed_error(y, z):
    return tf.reduce_mean(tf.abs(y - z) ** 3, axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        ("mae", keras.metrics.MeanSquaredError()),
        (keras.losses.CategoricalCrossentropy(from_logits=True), "accuracy"),
        (cubed_error, "cosine_similarity"),
    ],
    ids=["mae", "cross_entropy", "a_function"],
)
def test_losses_and_metrics_of_keras(loss, metric):
    # Some of them have no curvature in the outputs, which Gauss-Newton needs.
    learner = small(loss=loss, metrics=[metric], algorithm=learners.imaml(curvature="hessian"))
    batch = one_hot(vectors())
    result = learner.evaluate(learners.dataset(batch), steps=1, verbose=0, return_dict=True)
    (support_x, support_y), (query_x, query_y) = batch
    losses = keras.losses.get(loss)
    expected = [
        np.mean(losses(y, learner.adapt_and_predict(x, s, q)))
        for x, s, q, y in zip(support_x, support_y, query_x, query_y, strict=True)
    ]
    assert float(result["loss"]) == pytest.approx(np.mean(expected), rel=1e-4)
    assert len(result) == 4  # loss, the metric, bad_tasks, transductive
    assert np.isfinite(learner.train_on_batch(*tensors(batch))).all()


def tensors(batch):
    return tf.nest.map_structure(tf.constant, batch)


def two_headed():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="tanh", name="body")(inputs)
    outputs = {
        "kind": keras.layers.Dense(3, name="kind")(hidden),
        "size": keras.layers.Dense(1, name="size")(hidden),
    }
    return keras.Model(inputs, outputs)


def two_targets(batch):
    return tuple((x, {"kind": y, "size": np.sum(x, axis=-1, keepdims=True)}) for x, y in batch)


@pytest.mark.slow
def test_networks_of_several_outputs():
    """By name; lists are tested in tests/learner/test_targets_of_outputs.py."""
    losses = {"kind": learners.cross_entropy(), "size": "mse"}
    metrics = {"kind": ["accuracy"], "size": ["mae"]}
    learner = ki.MetaLearner(two_headed(), learners.imaml())
    learner.compile(optimizer="adam", loss=losses, metrics=metrics)
    batch = two_targets(vectors())
    tasks = tf.data.Dataset.from_tensors(batch).repeat()
    history = learner.fit(tasks, steps_per_epoch=2, **FIT).history
    assert {"loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"} <= set(history)
    total = history["kind_loss"][0] + history["size_loss"][0]
    assert history["loss"][0] == pytest.approx(total, rel=1e-4)
    assert np.isfinite(list(history.values())).all()
    task = tf.nest.map_structure(lambda part: part[0], batch)
    model = learner.adapt(*task[0])
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        model(task[1][0]),
        learner.adapt_and_predict(*task[0], task[1][0]),
    )


@pytest.mark.slow
def test_a_scale_of_the_loss_does_not_change_a_step():
    results = []
    for scale in (None, 1024.0):
        keras.utils.set_random_seed(0)
        learner = ki.MetaLearner(perceptron(), learners.imaml())
        optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=scale)
        learner.compile(optimizer=optimizer, loss=learners.cross_entropy())
        learner.fit(data(), steps_per_epoch=2, **FIT)
        results.append(numbers(learner.model))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: learners.imaml(1, linear=ki.linear.ConjugateGradient(max_steps=1)),
        lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1)),
    ],
    ids=["imaml", "maml"],
)
def test_xla_compiles_once_and_gives_the_same_losses(make):
    results = []
    for compiled in (False, True):
        keras.utils.set_random_seed(0)
        learner = small(algorithm=make(), jit_compile=compiled)
        times = [time.process_time()]
        results.append(learner.fit(data(), steps_per_epoch=1, **FIT).history)
        times.append(time.process_time())
        results[-1]["later"] = learner.fit(data(), steps_per_epoch=3, **FIT).history["loss"]
        times.append(time.process_time())
    for name in results[0]:
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-3, abs=1e-5)
    first_seconds, later_seconds = np.diff(times)
    assert later_seconds < 0.2 * first_seconds


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("part", [0, 1])
def test_lists_of_numbers_are_refused_before_a_graph_is_built(method, part):
    sets = [list(pair) for pair in vectors()]
    sets[1][part] = sets[1][part].tolist()
    with pytest.raises(ValueError, match="Expected arrays or tensors, such as np.asarray"):
        getattr(small(), method)(*map(tuple, sets))


@pytest.mark.slow
def test_dropout_changes_from_step_to_step():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(64), keras.layers.Dropout(0.5)]
        + [keras.layers.Dense(3)]
    )
    learner = small(model, rate=0.0)
    tasks = learners.dataset(vectors())
    losses = [learner.fit(tasks, steps_per_epoch=1, **FIT).history["loss"][0] for _ in range(3)]
    assert len(set(losses)) == 3


@pytest.mark.slow
def test_a_network_that_was_trained_before_is_taken():
    network = perceptron()
    network.compile(optimizer="adam", loss=learners.cross_entropy(), metrics=["accuracy"])
    support, query = vectors()
    network.fit(support[0][0], support[1][0], verbose=0)
    learner = small(network)
    assert learner.fit(data(), steps_per_epoch=1, **FIT).history["loss"][0] > 0.1
    model = learner.adapt(support[0][0], support[1][0])
    assert model(query[0][0]).shape == (6, 3)


# What is refused, and what the message says.


def test_stock_batch_normalization_is_refused_by_name():
    layers = [keras.Input((4,)), keras.layers.BatchNormalization(name="culprit")]
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="/culprit'.*TaskBatchNormalization"):
        ki.MetaLearner(model, learners.imaml())
    model.layers[0].trainable = False
    history = small(model).fit(data(), steps_per_epoch=1, **FIT).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": keras.Sequential([keras.layers.Dense(3)])}, "Expected a built model"),
        ({"adapt": "tail"}, "`adapt`.*head/kernel.*Received: 'tail'"),
        ({"adapt": lambda variable: False}, "`adapt`.*at least one trainable weight"),
        ({"algorithm": "imaml"}, "`algorithm`.*IMAML.*Received: algorithm='imaml'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ki.MetaLearner(**{"model": perceptron(), "algorithm": learners.imaml(), **arguments})


def test_a_loss_is_needed():
    learner = ki.MetaLearner(perceptron(), learners.imaml())
    with pytest.raises(ValueError, match="`loss`.*SparseCategoricalCrossentropy.*loss=None"):
        learner.compile(optimizer="adam")


def test_a_loss_of_probabilities_is_refused_with_gauss_newton():
    learner = ki.MetaLearner(perceptron(), learners.imaml())
    with pytest.raises(ValueError, match="not convex.*Received"):
        learner.compile(loss="sparse_categorical_crossentropy")


def test_adapt_needs_compile():
    learner = ki.MetaLearner(perceptron(), learners.imaml())
    support, _ = vectors()
    with pytest.raises(ValueError, match="compile"):
        learner.adapt(support[0][0], support[1][0])


def test_elements_of_another_structure_are_refused():
    support, query = vectors()
    for element in (support[0], support, (*support, *query)):
        with pytest.raises(ValueError, match="support_x, support_y.*task axis.*Received"):
            small().fit(tf.data.Dataset.from_tensors(element), **FIT)


def test_an_adaptation_that_diverges_is_reported():
    learner = small(algorithm=ki.IMAML(1e-3, inner=ki.inner.GradientDescent(50, 1e3)))
    support, _ = vectors()
    with pytest.raises(ValueError, match="diverged.*lower the inner learning rate"):
        learner.adapt(support[0][0], support[1][0])
    support[0][0][0] = np.nan
    with pytest.raises(ValueError, match="inputs are NaN"):
        small().adapt(support[0][0], support[1][0])


def two_of_a_name():
    """The inner model's layer has the same name as one beside it."""
    layer = lambda: keras.layers.Dense(4, name="dense_a")  # noqa: E731
    block = keras.Sequential([keras.Input((4,)), layer()], name="block")
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3)(layer()(block(inputs))))


@pytest.mark.parametrize("build", [perceptron, two_of_a_name])
def test_a_predicate_chooses_the_same_weights_after_loading(tmp_path, build):
    model = build()
    chosen = {id(v) for v in model.layers[-2].trainable_variables}
    learner = small(model, adapt=lambda v: id(v) in chosen)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    paths = lambda source: [v.path for v in source.parameters.adapted]  # noqa: E731
    assert paths(loaded) == paths(learner) and loaded.parameters.size == learner.parameters.size
    assert loaded.get_config()["adapt"] == learner.get_config()["adapt"]


@pytest.mark.parametrize("name", ["inner", "linear", "proximal_strength"])
def test_settings_of_an_algorithm_in_use_cannot_be_set(name):
    learner = small()
    with pytest.raises(AttributeError, match=f"`{name}` of a IMAML in use.*another learner"):
        setattr(learner.algorithm, name, None)
    with pytest.raises(AttributeError, match="`algorithm` of a MetaLearner.*another one"):
        learner.algorithm = ki.MAML()


@pytest.mark.slow
def test_evaluation_and_adaptation_are_without_dropout():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
    learner = small(model, algorithm=ki.MAML(ki.inner.GradientDescent(1, 0.1)))
    (x, y), _ = batch = vectors()
    before = learner.evaluate(*batch, batch_size=4, verbose=0)
    learner.random_streams.advance()
    assert learner.evaluate(*batch, batch_size=4, verbose=0) == before
    kernel = learner.adapt(x[0], y[0]).layers[-1].kernel
    assert np.all(kernel != model.layers[-1].kernel)  # no input was dropped


def test_masks_of_outputs_are_refused():
    tagger = keras.Sequential(
        [keras.Input((5,)), keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="mask.*ignore_class.*Received"):
        ki.MetaLearner(tagger, ki.IMAML())
    embedding = tagger.layers[0]
    pooled = keras.Sequential(
        [keras.Input((5,)), embedding, keras.layers.LSTM(4), keras.layers.Dense(3)]
    )
    ki.MetaLearner(pooled, ki.IMAML())


def test_masks_of_a_subclassed_network_are_refused_when_it_is_called():
    class Tagger(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = keras.layers.Embedding(9, 4, mask_zero=True)
            self.head = keras.layers.Dense(3)

        def call(self, x):
            return self.head(self.embedding(x))

    tagger = Tagger()
    x, y = np.array([[[1, 2, 0], [3, 0, 0]]]), np.array([[[0, 1, 2], [2, 1, 0]]])
    tagger(x[0])
    learner = small(tagger, algorithm=ki.MAML())
    with pytest.raises(ValueError, match="mask.*ignore_class.*Received"):
        learner.train_on_batch((x, y), (x, y))


def test_what_holds_variables_serves_one_learner():
    solver = ki.inner.GradientDescent(2, ki.LearningRate(0.1))
    small(algorithm=ki.MAML(solver))
    with pytest.raises(ValueError, match="`learning_rate`.*its own for every learner.*Received"):
        small(algorithm=ki.MAML(solver))


@pytest.mark.slow
def test_a_loss_scale_reaches_embeddings():
    """Their gradients are sparse."""
    parts = [keras.Input((2,)), keras.layers.Embedding(9, 4), keras.layers.Flatten()]
    model = keras.Sequential([*parts, keras.layers.Dense(3, name="head")])
    optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=8.0)
    learner = small(model, adapt="head", optimizer=optimizer)
    words = np.random.default_rng(0).integers(9, size=(4, 3, 2))
    labels = np.tile(np.arange(3, dtype="int32"), (4, 1))
    before = numbers(model)
    logs = learner.train_on_batch((words, labels), (words, labels), return_dict=True)
    assert np.isfinite(logs["loss"]) and np.any(numbers(model)[0] != before[0])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ki.IMAML(1.0, 5), "inner"),
        (lambda: ki.IMAML(1.0, ki.inner.Adam), "inner"),
        (lambda: ki.IMAML(1.0, ki.linear.Dual()), "inner"),
        (lambda: ki.IMAML(1.0, linear="cg"), "linear"),
        (lambda: ki.IMAML(1.0, linear=ki.linear.Dual), "linear"),
        (lambda: ki.Reptile(3), "inner"),
        (lambda: small(adapt=3), "adapt"),
        (lambda: small(adapt=[keras.layers.Dense(1)]), "adapt"),
        (lambda: ki.MetaLearner("mlp", ki.MAML()), "model"),
        (lambda: ki.callbacks.Checkpoints(ki.MetaLearner(perceptron(), ki.MAML()), "x"), "learner"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_early(make, name):
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`.*Expected.*Received"):
        make()


def test_a_loss_of_every_example_is_refused():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    with pytest.raises(ValueError, match="Invalid value for `loss`.*reduction='none'"):
        small(loss=loss).train_on_batch(*vectors())


def test_shapes_are_checked_whatever_came_before():
    """The graph of `adapt` serves all numbers of examples; it still compares them."""
    learner = small()
    (x, y), (query_x, _) = vectors(query=4)
    for rows in (2, 3):
        learner.adapt_weights(x[0, :rows], y[0, :rows])
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="support_y.*as many"):
        learner.adapt_weights(x[0], y[0, :1])
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="support_x.*example"):
        learner.adapt_weights(x[0, :0], y[0, :0])
    with pytest.raises(ValueError, match="support_x.*which 'mlp' takes"):
        learner.adapt_weights(x[0, :, :2], y[0])
    column = learner.adapt_weights(x[0], y[0][:, None])
    np.testing.assert_allclose(column, learner.adapt_weights(x[0], y[0]), rtol=1e-5)
    with pytest.raises(ValueError, match="`support_y`.*Received: support_y=None"):
        learner.adapt_and_predict(x[0], None, query_x[0])
    with pytest.raises(ValueError, match="`support_y`.*class numbers from 0 to 2"):
        learner.adapt_and_predict(x[0], y[0] + 7, query_x[0])


@pytest.mark.slow
def test_numbers_of_examples_that_no_graph_knows_are_compared():
    """One target would serve every example of a task, for a loss that broadcasts."""
    learner = learners.compiled(perceptron(1), loss="mse", metrics=())
    (x, _), _ = vectors()
    targets = np.ones([4, 3, 1], "float32")
    signature = tuple(
        (tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None, 1])) for _ in range(2)
    )

    def fit(*elements):
        draw = lambda: iter(elements)  # noqa: E731
        data = tf.data.Dataset.from_generator(draw, output_signature=signature)
        return learner.fit(data, verbose=0).history["loss"]

    assert np.isfinite(fit(((x, targets), (x, targets)), ((x[:, :2], targets[:, :2]),) * 2)).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="support_y.*as many"):
        fit(((x, targets[:, :1]), (x, targets)))
