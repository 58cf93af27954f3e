"""SavedModels that adapt: any number of examples, and no need of Keras or this package."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners

SERVE = """
import sys
sys.modules["keras"] = sys.modules["keras_imaml"] = None
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
assert {"predict", "adapt_and_predict", "serving_default"} <= set(served.signatures)
data = np.load(sys.argv[2])
for case in range(2):
    parts = [tf.constant(data[f"{name}_{case}"]) for name in ("x", "y", "q")]
    names = ("support_x", "support_y", "query_x")
    by_name = served.signatures["adapt_and_predict"](**dict(zip(names, parts)))
    for result in (served.adapt_and_predict(*parts), by_name):
        np.testing.assert_allclose(result["logits"], data[f"z_{case}"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(tf.reduce_sum(result["probabilities"], -1), 1, rtol=1e-5)
        assert result["adapted"] and 0 < result["inner_residual"] < 1
        assert result["inner_steps"] == 2
before = served.predict(data["q_0"])
np.testing.assert_allclose(before["logits"], data["before"], rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(tf.nn.softmax(before["logits"]), before["probabilities"], rtol=1e-5)
bad = served.adapt_and_predict(np.nan * data["x_0"], data["y_0"], data["q_0"])
assert not bad["adapted"] and np.isnan(bad["logits"]).all()
"""


@pytest.mark.slow
def test_it_serves_without_keras(tmp_path):
    learner = learners.compiled(learners.small(filters=2))
    learner.export(tmp_path / "few_shot", verbose=False)
    arrays = {}
    for case, (shot, query) in enumerate([(1, 2), (3, 5)]):
        (x, y), (q, _) = learners.images(tasks=1, shot=shot, query=query, seed=case)
        z = learner.adapt_and_predict(x[0], y[0], q[0])
        arrays |= {f"x_{case}": x[0], f"y_{case}": y[0], f"q_{case}": q[0], f"z_{case}": z}
    np.savez(tmp_path / "data.npz", before=learner.model(arrays["q_0"]), **arrays)
    result = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path / "few_shot"), str(tmp_path / "data.npz")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_a_learner_in_mixed_precision_serves_what_it_adapts(tmp_path):
    network = learners.small(
        classes=5, shape=(28, 28, 1), tied_head=True, dtype="mixed_bfloat16", blocks=2
    )
    algorithm = ki.IMAML(0.2, ki.inner.NewtonCG(3), ki.linear.Dual())
    learner = learners.compiled(network, algorithm, adapt="head")
    tasks = ki.data.glyphs("train", query=5, seed=0).batch(4)
    learner.fit(tasks, steps_per_epoch=3, verbose=0)
    (x, y), (q, _) = next(iter(ki.data.glyphs("test", seed=0)))
    expected = learner.adapt(x, y)(q)
    learner.save(tmp_path / "learner.keras")
    predictions = keras.models.load_model(tmp_path / "learner.keras").adapt(x, y)(q)
    np.testing.assert_allclose(predictions, expected, atol=1e-6)
    learner.export(tmp_path / "served", verbose=False)
    served_model = tf.saved_model.load(tmp_path / "served")
    result = served_model.adapt_and_predict(x, y, q)
    assert result["adapted"] and result["logits"].dtype == tf.float32
    np.testing.assert_allclose(result["logits"], expected, atol=0.1)


def perceptron(loss, tmp_path, **settings):
    learner = ki.MetaLearner(ki.models.MLP(3, (4,), hidden=(5,)), learners.imaml())
    learner.compile(optimizer="adam", loss=loss)
    learner.export(tmp_path / "served", verbose=False, **settings)
    return learner, tf.saved_model.load(tmp_path / "served")


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


@pytest.mark.slow
def test_targets_of_other_losses_have_the_shape_of_the_outputs(tmp_path):
    learner, served_model = perceptron("mse", tmp_path)
    x, y, q = arrays((5, 4), (5, 3), (2, 4))
    np.testing.assert_allclose(
        served_model.adapt_and_predict(x, y, q)["predictions"],
        learner.adapt_and_predict(x, y, q),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_targets_may_be_described(tmp_path):
    def loss(labels, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.cast(labels[:, 0], tf.int32),
            logits,  # Keras hands a loss floating-point labels
        )

    spec = tf.TensorSpec([None, 1], tf.int64, "support_y")
    learner, served_model = perceptron(loss, tmp_path, target_spec=spec)
    x, q = arrays((3, 4), (2, 4))
    y = np.array([[0], [1], [2]])
    np.testing.assert_allclose(
        served_model.adapt_and_predict(x, y, q)["predictions"],
        learner.adapt_and_predict(x, y, q),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_networks_of_several_inputs_and_outputs(tmp_path):
    left, right = keras.Input((3,)), keras.Input((2,))
    x = keras.layers.Concatenate()([left, right])
    model = keras.Model([left, right], [keras.layers.Dense(2)(x), keras.layers.Dense(1)(x)])
    learner = ki.MetaLearner(model, learners.imaml())
    learner.compile(optimizer="adam", loss=["mse", "mse"])
    learner.export(tmp_path / "served", verbose=False)
    served_model = tf.saved_model.load(tmp_path / "served")
    *parts, q3, q2 = arrays((4, 3), (4, 2), (4, 2), (4, 1), (6, 3), (6, 2))
    support_x, support_y, query_x = parts[:2], parts[2:], [q3, q2]
    expected = learner.adapt_and_predict(support_x, support_y, query_x)
    result = served_model.adapt_and_predict(support_x, support_y, query_x)
    for name, values in zip(model.output_names, expected, strict=True):
        np.testing.assert_allclose(result[f"{name}_predictions"], values, rtol=1e-4, atol=1e-5)
    answer = response(served_model, ki.serving_request(support_x, support_y, query_x))
    for name, values in zip(model.output_names, expected, strict=True):
        np.testing.assert_allclose(answer[f"{name}_predictions"], values, rtol=1e-3, atol=1e-4)


def response(served_model, request):
    """What TensorFlow Serving does with a request of its columnar form, without the server."""
    request = json.loads(request)
    signature = served_model.signatures[request["signature_name"]]
    specs = signature.structured_input_signature[1]
    assert set(specs) == set(request["inputs"])
    inputs = {name: tf.constant(v, specs[name].dtype) for name, v in request["inputs"].items()}
    for name, value in inputs.items():
        assert specs[name].shape.is_compatible_with(value.shape)
    return json.loads(json.dumps({k: v.numpy().tolist() for k, v in signature(**inputs).items()}))


def test_a_request_is_answered_as_the_learner_would(tmp_path):
    learner = learners.compiled(learners.small(filters=2))
    learner.export(tmp_path / "few_shot", verbose=False)
    (x, y), (q, _) = learners.images(tasks=1, shot=2, query=1, seed=0)
    answer = response(
        tf.saved_model.load(tmp_path / "few_shot"), ki.serving_request(x[0], y[0], q[0])
    )
    expected = learner.adapt_and_predict(x[0], y[0], q[0])
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-3, atol=1e-3)
    assert answer["adapted"] is True


def test_a_request_holds_finite_numbers():
    with pytest.raises(ValueError, match="Expected finite numbers.*NaN"):
        ki.serving_request(np.full([1, 2], np.nan), np.zeros([1]), np.zeros([1, 2]))


@pytest.mark.slow
def test_the_command_of_tensorflow_runs_it(tmp_path):
    learner = learners.compiled(learners.small(filters=2))
    learner.export(tmp_path / "few_shot", verbose=False)
    (x, y), (q, _) = learners.images(tasks=1, shot=2, query=1, seed=0)
    parts = {"support_x": x[0], "support_y": np.asarray(y[0], "int32"), "query_x": q[0]}
    for name, value in parts.items():
        np.save(tmp_path / f"{name}.npy", value)
    command = [os.path.join(os.path.dirname(sys.executable), "saved_model_cli"), "run"]
    command += ["--dir", tmp_path / "few_shot", "--tag_set", "serve"]
    command += ["--signature_def", "adapt_and_predict", "--outdir", tmp_path]
    command += ["--inputs", ";".join(f"{name}={tmp_path}/{name}.npy" for name in parts)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    expected = learner.adapt_and_predict(x[0], y[0], q[0])
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-5)


def litert(path, inputs):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    detail = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(detail["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def onnx(path, inputs):
    pytest.importorskip("tf2onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("name", "run"), [("litert", litert), ("onnx", onnx)])
def test_an_adapted_model_runs_on_small_devices(tmp_path, name, run, tied):
    learner = learners.compiled(ki.models.Conv4(3, (28, 28, 1), filters=4, tied_head=tied))
    (x, y), (q, _) = ki.data.glyphs("test", way=3, seed=1).take(1).get_single_element()
    model = learner.adapt(x, y)
    path = tmp_path / {"litert": "model.tflite", "onnx": "model.onnx"}[name]
    model.export(path, format=name, verbose=False)
    np.testing.assert_allclose(
        run(path, q.numpy()), model.predict(q, verbose=0), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_names_of_what_is_served_follow_the_losses(tmp_path):
    inputs = keras.Input((4,))
    outputs = {
        "kind": keras.layers.Dense(3, name="kind")(inputs),
        "is_red": keras.layers.Dense(1, activation="sigmoid", name="is_red")(inputs),
        "size": keras.layers.Dense(1, name="size")(inputs),
    }
    learner = ki.MetaLearner(keras.Model(inputs, outputs), learners.imaml())
    losses = {"kind": learners.cross_entropy(), "is_red": "binary_crossentropy", "size": "mse"}
    learner.compile(optimizer="adam", loss=losses)
    targets = {
        "kind": tf.TensorSpec([None], tf.int32, "kind"),
        "is_red": tf.TensorSpec([None, 1], tf.float32, "is_red"),
        "size": tf.TensorSpec([None, 1], tf.float32, "size"),
    }
    learner.export(tmp_path / "served", target_spec=targets, verbose=False)
    served_model = tf.saved_model.load(tmp_path / "served")
    (q,) = arrays((6, 4))
    assert set(served_model.predict(q)) == {
        "kind_logits",
        "kind_probabilities",
        "is_red_probabilities",
        "size_predictions",
    }
    y = {"kind": np.zeros([6], "int32"), "is_red": q[:, :1] ** 2, "size": q[:, :1]}
    assert set(served_model.adapt_and_predict(q, y, q)) - set(served_model.predict(q)) == {
        "adapted",
        "inner_residual",
        "inner_steps",
    }


@pytest.mark.slow
def test_variables_are_written_once(tmp_path):
    learner, _ = perceptron("mse", tmp_path)
    written = tf.train.list_variables(str(tmp_path / "served" / "variables" / "variables"))
    size = sum(int(np.prod(shape)) for name, shape in written if "VARIABLE" in name)
    assert size <= learner.model.count_params() + 10


@pytest.mark.parametrize("sample_weight", [False, True])
def test_each_adaptation_is_traced_once(tmp_path, monkeypatch, sample_weight):
    learner = learners.compiled(ki.models.MLP(3, (4,), (2,)))
    adapt, traces = ki.IMAML.adapt, []
    monkeypatch.setattr(ki.IMAML, "adapt", lambda *arguments: traces.append(1) or adapt(*arguments))
    learner.export(tmp_path / "served", verbose=False, sample_weight=sample_weight)
    assert len(traces) == 1 + sample_weight


@pytest.mark.slow
def test_later_training_does_not_reach_it(tmp_path):
    learner, served_model = perceptron("mse", tmp_path)
    (x,) = arrays((2, 4))
    before = learner.model(x)
    for variable in learner.model.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_allclose(served_model.predict(x)["predictions"], before, rtol=1e-5)


def test_export_needs_compile(tmp_path):
    learner = ki.MetaLearner(ki.models.MLP(), learners.imaml())
    with pytest.raises(ValueError, match="compile"):
        learner.export(tmp_path / "served")


def test_a_network_without_recorded_inputs_is_refused(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(3)

        def call(self, inputs):
            return self.head(inputs)

    model = Subclassed()
    model(tf.zeros([1, 4]))
    learner = ki.MetaLearner(model, learners.imaml())
    learner.compile(optimizer="adam", loss="mse")
    with pytest.raises(ValueError, match="no recorded inputs.*Received: Subclassed"):
        learner.export(tmp_path / "served")


@pytest.mark.slow
def test_a_network_of_named_inputs(tmp_path):
    """In an order that is not that of the alphabet."""
    inputs = {"wide": keras.Input((3,), name="b"), "narrow": keras.Input((2,), name="a")}
    joined_inputs = keras.layers.Concatenate()([inputs["wide"], inputs["narrow"]])
    learner = learners.compiled(keras.Model(inputs, keras.layers.Dense(3)(joined_inputs)))
    rng = np.random.default_rng(0)
    x = {"wide": rng.normal(size=(6, 3)), "narrow": rng.normal(size=(6, 2))}
    x = {name: values.astype("float32") for name, values in x.items()}
    y = np.array([0, 1, 2] * 2, "int32")
    expected = learner.adapt_and_predict(x, y, x)
    learner.export(str(tmp_path), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(
        served_model.adapt_and_predict(x, y, x)["logits"], expected, rtol=1e-4, atol=1e-5
    )
    answer = response(served_model, ki.serving_request(x, y, x))
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_layers_that_were_never_called_do_not_hinder(tmp_path):
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.unused = keras.layers.Dense(4)
            self.dense = keras.layers.Dense(4)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    inputs = keras.Input((5,))
    network = keras.Model(inputs, keras.layers.Dense(3)(Block()(inputs)))
    learner = learners.compiled(network)
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    y = np.array([0, 1, 2] * 2, "int32")
    learner.export(str(tmp_path), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(
        served_model.adapt_and_predict(x, y, x)["logits"],
        learner.adapt_and_predict(x, y, x),
        rtol=1e-4,
        atol=1e-5,
    )
