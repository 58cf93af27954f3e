"""What a run writes for TensorBoard, read back from its files."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.callbacks import dashboard as dashboard_module
from keras_imaml.callbacks.probe import Probe
from tests import learners, programs
from tests.callbacks import sinusoid_runs
from tests.event_files import Run


def data(seed=0):
    return learners.dataset(learners.images(seed=seed), learners.images(seed=seed + 1))


def layered():
    return learners.imaml(proximal_strength=ki.ProximalStrength(1.0, "layer", learned=True))


def network():
    layers = [
        keras.Input([8, 8, 1]),
        keras.layers.Flatten(),
        keras.layers.Dense(4, "softplus", name="hidden"),
        keras.layers.Dense(3, name="head"),
    ]
    return keras.Sequential(layers)


def fit(learner, callbacks, epochs=2, **settings):
    return learner.fit(
        data(),
        steps_per_epoch=4,
        epochs=epochs,
        validation_data=data(7),
        validation_steps=1,
        verbose=0,
        callbacks=callbacks,
        **settings,
    ).history


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, its history, its learner and its folder."""
    folder = tmp_path_factory.mktemp("logs")
    keras.utils.set_random_seed(0)
    learner = learners.compiled(network(), layered())
    settings = {"proximal_strength": 1.0, "adapt": "all", "learned": True}
    dashboard = ki.callbacks.Dashboard(folder, data(3), settings, every=3)
    history = fit(learner, [dashboard])
    evaluation = ki.evaluate(learner, data(5), num_tasks=8, verbose=False)
    dashboard.record(evaluation)
    return learner, history, evaluation, folder


TAGS = {
    "loss": "adaptation/loss",
    "accuracy": "adaptation/accuracy",
    "inner_residual": "inner/residual",
    "linear_residual": "linear/residual",
    "negative_curvature": "curvature/share_of_negative",
    "first_order_cosine": "meta_gradient/first_order_cosine_by_task",
    "bad_tasks": "tasks/bad_share",
}


@pytest.mark.slow
def test_curves_of_training_are_means_over_parts_of_an_epoch(run):
    _, history, _, folder = run
    train = Run(folder / "train")
    for name, tag in TAGS.items():
        points = train.points(tag)
        assert list(points) == [3, 4, 7, 8]
        for epoch, (chunk_step, last_step) in enumerate([(3, 4), (7, 8)]):
            mean = (3 * points[chunk_step] + points[last_step]) / 4
            assert mean == pytest.approx(history[name][epoch], rel=1e-4, abs=1e-6)
    assert min(train.points("time/step_ms").values()) > 0
    assert set(train.points("time/probe_s")) == {0, 4, 8}


@pytest.mark.slow
def test_validation_is_that_of_fit(run):
    _, history, _, folder = run
    validation = Run(folder / "validation")
    for name in ("loss", "accuracy"):
        points = validation.points(TAGS[name])
        assert list(points) == [4, 8]
        np.testing.assert_allclose(list(points.values()), history[f"val_{name}"], rtol=1e-6)


@pytest.mark.slow
def test_the_probe_is_what_evaluation_says(run):
    learner, _, _, folder = run
    evaluation = ki.evaluate(learner, data(3), num_tasks=4, verbose=False)
    after, before = Run(folder / "probe"), Run(folder / "probe_before")
    last = lambda run, tag: run.points(tag)[8]  # noqa: E731
    assert last(after, "adaptation/loss") == pytest.approx(evaluation.loss, rel=1e-5)
    assert last(after, "adaptation/accuracy") == pytest.approx(evaluation.accuracy)
    assert last(before, "adaptation/loss") == pytest.approx(evaluation.loss_before, rel=1e-5)
    assert last(before, "adaptation/accuracy") == pytest.approx(evaluation.accuracy_before)
    assert set(after.points("adaptation/loss")) == {0, 4, 8}
    assert set(after.points("time/step_ms")) == {4, 8}  # the first one would be of building graphs


@pytest.mark.slow
def test_lambda_and_movement_have_a_curve_a_layer(run):
    learner, _, _, folder = run
    train, probe = Run(folder / "train"), Run(folder / "probe")
    strengths = np.exp(learner.algorithm.proximal_strength.logarithm.numpy())
    layers = [group.name for group in learner.parameters.groups]
    for layer, strength in zip(layers, strengths, strict=True):
        points = train.points(f"lambda/{layer}")
        assert points[0] == pytest.approx(1.0)
        assert points[8] == pytest.approx(strength)
        assert probe.points(f"moved/{layer}")[8] >= 0
    theta = np.linalg.norm(learner.parameters.theta())
    assert train.points("weights/norm")[8] == pytest.approx(theta, rel=1e-6)
    assert train.points("outer/learning_rate")[8] == pytest.approx(1e-2)


@pytest.mark.slow
def test_the_residual_of_the_linear_solver_against_its_steps(run):
    learner, _, _, folder = run
    assert sorted(f.name for f in (folder / "linear").iterdir()) == [
        "step_000000",
        "step_000004",
        "step_000008",
    ]
    curve = Run(folder / "linear" / "step_000008").points("linear/residual_against_its_steps")
    assert list(curve) == [0, 1, 2, 3, 4]  # the learner's own number is 2
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    objective = learner.objective(next(iter(data(3))), training=False)
    meta = learner.algorithm.meta_gradient(objective, learner.trainable_variables)
    assert curve[2] == pytest.approx(float(meta.diagnostics["linear_residual"]), rel=1e-3)


@pytest.mark.slow
def test_the_cosine_is_that_of_the_meta_gradient_to_the_first_order_one(run):
    learner, _, _, folder = run
    objective = learner.objective(next(iter(data(3))), training=False)
    weights = learner.parameters.adapted
    flat = lambda parts: np.concatenate([np.ravel(part) for part in parts])  # noqa: E731
    implicit = flat(learner.algorithm.meta_gradient(objective, weights).gradients)
    phi = learner.algorithm.adapt(objective).phi
    with tf.GradientTape() as tape:
        tape.watch(phi)
        losses, _ = objective.query_losses(phi)
    first_order = tape.gradient(losses, phi).numpy().mean(axis=0)
    cosine = implicit @ first_order / np.linalg.norm(implicit) / np.linalg.norm(first_order)
    probe = Run(folder / "probe")
    assert probe.points("meta_gradient/first_order_cosine")[8] == pytest.approx(cosine, abs=1e-4)
    assert probe.points("meta_gradient/norm")[8] == pytest.approx(
        np.linalg.norm(implicit), rel=1e-3
    )


@pytest.mark.slow
def test_episodes_weights_and_the_graph_are_recorded(run):
    learner, _, _, folder = run
    probe, train = Run(folder / "probe"), Run(folder / "train")
    for task in (0, 1):
        pictures = probe.pictures(f"episodes/task_{task}")
        assert list(pictures) == [0, 4, 8]
        assert all(png.startswith(b"\x89PNG") for *_, png in pictures.values())
    assert train.tags("histograms") == {
        f"weights/{v.path}" for v in learner.model.trainable_variables
    }
    nodes = {node.name for node in train.files.Graph().node}
    assert any("hidden" in name for name in nodes)


@pytest.mark.slow
def test_settings_and_results_are_in_the_table(run):
    _, _, evaluation, folder = run
    run_files = Run(folder)
    assert run_files.points("result/accuracy") == {8: pytest.approx(evaluation.accuracy)}
    assert run_files.points("result/loss") == {8: pytest.approx(evaluation.loss)}
    start = run_files.files.SummaryMetadata("_hparams_/session_start_info")
    assert b"proximal_strength" in start.plugin_data.content


@pytest.mark.slow
def test_training_is_the_same_without(run):
    keras.utils.set_random_seed(0)
    plain_learner = learners.compiled(network(), layered())
    fit(plain_learner, [])
    for expected, received in zip(run[0].variables, plain_learner.variables, strict=True):
        # Other draws would differ in the second digit; busy cores add in another order.
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-6, err_msg=expected.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "expected_tag"),
    [
        (lambda: ki.MAML(ki.inner.GradientDescent(2, ki.LearningRate(0.1))), "inner/residual"),
        (lambda: ki.Reptile(ki.inner.Adam(steps=2)), "inner/distance"),
    ],
)
def test_algorithms_without_a_linear_system(tmp_path, algorithm, expected_tag):
    learner = learners.compiled(network(), algorithm(), metrics=())
    dashboard = ki.callbacks.Dashboard(tmp_path, data())
    learner.fit(data(), steps_per_epoch=2, verbose=0, callbacks=[dashboard])
    assert expected_tag in Run(tmp_path / "train").tags()
    tags = Run(tmp_path / "probe").tags()
    assert {"adaptation/accuracy", "meta_gradient/first_order_cosine"} <= tags
    assert not (tmp_path / "linear").exists()
    rate = Run(tmp_path / "train").tags() & {"inner_learning_rate/mean"}
    assert bool(rate) == isinstance(learner.algorithm, ki.MAML)


@pytest.mark.slow
def test_a_regression_has_a_loss_and_no_accuracy(tmp_path):
    learner, tasks = sinusoid_runs.learner(), sinusoid_runs.tasks()
    dashboard = ki.callbacks.Dashboard(tmp_path, tasks)
    learner.fit(tasks, steps_per_epoch=2, epochs=2, verbose=0, callbacks=[dashboard])
    for name in ("probe", "probe_before"):
        run = Run(tmp_path / name)
        assert "adaptation/loss" in run.tags()
        assert "adaptation/accuracy" not in run.tags()
        assert not run.tags("images")


@pytest.mark.slow
def test_a_resumed_run_continues_at_its_step_without_a_probe(tmp_path):
    learner, tasks = sinusoid_runs.learner(), sinusoid_runs.tasks()
    for _ in range(2):
        dashboard = ki.callbacks.Dashboard(tmp_path, every=2)
        learner.fit(tasks, steps_per_epoch=2, verbose=0, callbacks=[dashboard])
    assert list(Run(tmp_path / "train").points("adaptation/loss")) == [2, 4]
    assert not (tmp_path / "probe").exists()


class _StopAt(keras.callbacks.Callback):
    """Ask to stop in one of the calls of an epoch of four steps and a validation."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def _stop(self, moment):
        self.model.stop_training = self.model.stop_training or moment == self.moment

    def on_train_batch_end(self, batch, logs=None):
        self._stop(batch)

    def on_test_batch_end(self, batch, logs=None):
        self._stop("validation")

    def on_epoch_end(self, epoch, logs=None):
        self._stop("end")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "dashboard_first", "measured"),
    [(1, True, False), (1, False, False), ("validation", True, False), ("end", False, True)],
)
def test_an_interrupted_epoch_does_not_wait_for_the_probe(
    tmp_path, moment, dashboard_first, measured
):
    learner = learners.compiled(network(), ki.Reptile(ki.inner.GradientDescent(steps=2)))
    callbacks = [_StopAt(moment), ki.callbacks.Dashboard(tmp_path, data(3))]
    fit(learner, callbacks[::-1] if dashboard_first else callbacks)
    step = int(learner.optimizer.iterations)
    assert step == (2 if moment == 1 else 4)
    probes = Run(tmp_path / "probe").points("adaptation/loss")
    assert list(probes) == ([0, step] if measured else [0])
    assert step in Run(tmp_path / "train").points("weights/norm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": [1, 2]}, "`tasks`. Expected a tf.data.Dataset of meta-batches"),
        ({"tasks": ki.data.sinusoid().take(0).batch(2)}, "Expected at least one meta-batch"),
        ({"tasks": ki.data.sinusoid(shot=5, query=3)}, r"is a `.batch\(8\)` missing"),
        ({"tasks": tf.data.Dataset.from_tensors(tf.zeros([2, 3]))}, "Invalid element of the data"),
        ({"hparams": {"adapt": ["head"]}}, "`hparams`. Expected names of settings"),
        ({"every": 0}, "`every`"),
        ({"pictures": -1}, "`pictures`"),
    ],
)
def test_invalid_arguments_are_refused_before_any_work(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        ki.callbacks.Dashboard(tmp_path / "logs", **arguments)
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_results_before_any_learner_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="has not seen a learner yet"):
        ki.callbacks.Dashboard(tmp_path).record(run[2])


def test_another_model_is_refused(tmp_path):
    model = ki.models.MLP()
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="Expected a keras_imaml.MetaLearner"):
        model.fit(
            np.zeros([2, 1]),
            np.zeros([2, 1]),
            verbose=0,
            callbacks=[ki.callbacks.Dashboard(tmp_path)],
        )


@pytest.mark.slow
def test_two_devices(tmp_path):
    script = f"""
import tensorflow as tf
from tests import on_replicas
strategy = on_replicas.strategy_for("mirrored", 2)
import keras_imaml as ki
from tests import learners
from tests.callbacks import test_dashboard as here
with strategy.scope():
    learner = learners.compiled(here.network(), here.layered())
here.fit(learner, [ki.callbacks.Dashboard({str(tmp_path)!r}, here.data(3), every=2)])
"""
    programs.run(["-c", script], check=True, shortcuts=True)
    assert list(Run(tmp_path / "train").points("adaptation/loss")) == [2, 4, 6, 8]
    probe = Run(tmp_path / "probe")
    assert set(probe.points("adaptation/accuracy")) == {0, 4, 8}
    assert set(probe.points("meta_gradient/first_order_cosine")) == {0, 4, 8}


def test_a_metric_that_is_a_vector_has_a_curve_for_each_entry(tmp_path):
    logs = {"f1": np.array([0.25, 0.5], "float32"), "loss": tf.constant(2.0)}
    curves = {"adaptation/f1/0": 0.25, "adaptation/f1/1": 0.5, "adaptation/loss": 2.0}
    assert dashboard_module._numbers(logs) == curves
    dashboard = ki.callbacks.Dashboard(tmp_path)
    dashboard.set_model(learners.compiled(network(), ki.Reptile()))
    f1 = {"value": [0.25, 0.5], "ci95": [0.1, 0.1], "before": [0.0, 0.125]}
    auc = {"value": 0.75, "ci95": 0.1, "before": 0.5}
    metrics = {"f1": f1, "auc": auc}
    dashboard.record(ki.Evaluation(3, 0, False, 0.5, 0.1, 0.9, None, None, None, metrics))
    run = Run(tmp_path)
    for tag, value in {"f1/1": 0.5, "f1_before/1": 0.125, "auc": 0.75, "auc_before": 0.5}.items():
        assert run.points(f"result/metrics/{tag}") == {0: value}


@pytest.mark.slow
def test_a_label_a_pixel_has_curves_and_no_picture(tmp_path):
    network = keras.Sequential([keras.Input((3, 3, 1)), keras.layers.Conv2D(2, 1)])
    learner = ki.MetaLearner(network, ki.MAML(ki.inner.GradientDescent(1)))
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    numbers = np.random.default_rng(0)
    x = numbers.uniform(size=(2, 2, 3, 3, 1)).astype("float32")
    y = numbers.integers(0, 2, (2, 2, 3, 3))
    tasks = tf.data.Dataset.from_tensors(((x, y), (x, y)))
    learner.fit(tasks, verbose=0, callbacks=[ki.callbacks.Dashboard(tmp_path, tasks)])
    probe = Run(tmp_path / "probe")
    assert "adaptation/accuracy" in probe.tags()
    assert not probe.tags("images")


def test_settings_need_no_keras_of_tensorflow(tmp_path, monkeypatch):
    # `api` reads `tf.keras`, which cannot be imported where TF_USE_LEGACY_KERAS is set.
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams.api", None)
    dashboard = ki.callbacks.Dashboard(tmp_path, hparams={"rate": 0.5})
    dashboard.set_model(learners.compiled(network(), ki.Reptile()))
    dashboard._write_hparams()
    assert Run(tmp_path).tags("hparams")


@pytest.mark.slow
def test_a_probe_makes_its_graphs_anew_for_a_learner_that_is_compiled_anew():
    tasks = data()
    learner = learners.compiled(network(), ki.Reptile())
    probe = Probe(tasks)
    first = probe.measure(learner).before
    assert probe.measure(learner).before == first
    doubled = learners.cross_entropy()
    learner.compile("adam", lambda y, z: 2 * doubled(y, z))
    tag = next(tag for tag in first if tag.endswith("loss_before") or "loss" in tag)
    assert probe.measure(learner).before[tag] == pytest.approx(2 * first[tag], rel=1e-5)


@pytest.mark.slow
def test_pictures_show_only_present_examples(tmp_path):
    """A probe of padded tasks measures and draws what it does without padding."""
    (x, y), (query_x, query_y) = learners.images(tasks=2)

    def larger(part, filling):
        padding = np.full((2, 2, *part.shape[2:]), filling, part.dtype)
        return np.concatenate([part, padding], axis=1)

    def weights(labels):
        return np.concatenate([np.ones(labels.shape), np.zeros([2, 2])], axis=1)

    padded = tuple(
        (larger(images, np.nan), larger(labels, -1), weights(labels))
        for images, labels in ((x, y), (query_x, query_y))
    )
    keras.utils.set_random_seed(0)
    learner = learners.compiled(network(), layered())
    tags, pictures = [], []
    for name, element in (("plain", ((x, y), (query_x, query_y))), ("padded", padded)):
        tasks = tf.data.Dataset.from_tensors(element)
        dashboard = ki.callbacks.Dashboard(tmp_path / name, tasks)
        dashboard.set_model(learner)
        dashboard.on_train_begin()
        measurement = dashboard.probe.measure(learner)
        tags.append({**measurement.before, **measurement.after})
        run = Run(tmp_path / name / "probe")
        pictures.append([run.pictures(f"episodes/task_{task}") for task in (0, 1)])
    shared = [tag for tag in tags[0] if not tag.startswith("time/")]
    for tag in shared:
        assert tags[1][tag] == pytest.approx(tags[0][tag], rel=1e-3, abs=1e-5), tag
    assert pictures[0] == pictures[1] and all(pictures[0])
