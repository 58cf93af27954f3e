"""SavedModels that adapt: any number of examples, and no need of Keras or this package."""

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
    result = served.adapt_and_predict(*parts)
    np.testing.assert_allclose(result, data[f"z_{case}"], rtol=1e-4, atol=1e-5)
    names = ("support_x", "support_y", "query_x")
    (result,) = served.signatures["adapt_and_predict"](**dict(zip(names, parts))).values()
    np.testing.assert_allclose(result, data[f"z_{case}"], rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(served.predict(data["q_0"]), data["before"], rtol=1e-4, atol=1e-5)
"""


def test_it_serves_without_keras(tmp_path):
    learner = learners.compiled(learners.conv4(filters=2))
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


def perceptron(loss, tmp_path, **settings):
    learner = ki.MetaLearner(ki.models.MLP(3, (4,), hidden=(5,)), learners.imaml())
    learner.compile(optimizer="adam", loss=loss)
    learner.export(tmp_path / "served", verbose=False, **settings)
    return learner, tf.saved_model.load(tmp_path / "served")


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def test_targets_of_other_losses_have_the_shape_of_the_outputs(tmp_path):
    learner, served = perceptron("mse", tmp_path)
    x, y, q = arrays((5, 4), (5, 3), (2, 4))
    np.testing.assert_allclose(
        served.adapt_and_predict(x, y, q), learner.adapt_and_predict(x, y, q), rtol=1e-4, atol=1e-5
    )


def test_targets_may_be_described(tmp_path):
    def loss(labels, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.cast(labels[:, 0], tf.int32),
            logits,  # Keras hands a loss floating-point labels
        )

    spec = tf.TensorSpec([None, 1], tf.int64, "support_y")
    learner, served = perceptron(loss, tmp_path, target_spec=spec)
    x, q = arrays((3, 4), (2, 4))
    y = np.array([[0], [1], [2]])
    np.testing.assert_allclose(
        served.adapt_and_predict(x, y, q), learner.adapt_and_predict(x, y, q), rtol=1e-4, atol=1e-5
    )


def test_networks_of_several_inputs_and_outputs(tmp_path):
    left, right = keras.Input((3,)), keras.Input((2,))
    x = keras.layers.Concatenate()([left, right])
    model = keras.Model([left, right], [keras.layers.Dense(2)(x), keras.layers.Dense(1)(x)])
    learner = ki.MetaLearner(model, learners.imaml())
    learner.compile(optimizer="adam", loss=["mse", "mse"])
    learner.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    *parts, q3, q2 = arrays((4, 3), (4, 2), (4, 2), (4, 1), (6, 3), (6, 2))
    support_x, support_y, query_x = parts[:2], parts[2:], [q3, q2]
    expected = learner.adapt_and_predict(support_x, support_y, query_x)
    result = served.adapt_and_predict(support_x, support_y, query_x)
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_later_training_does_not_reach_it(tmp_path):
    learner, served = perceptron("mse", tmp_path)
    (x,) = arrays((2, 4))
    before = learner.model(x)
    for variable in learner.model.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_allclose(served.predict(x), before, rtol=1e-5)


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
