"""Weights of examples from a meta-learned network, as docs/examples.md shows them."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "examples.md"


def documented():
    """The class of the page, for two classes."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "class LearnedWeights" in block)
    (definition,) = (node for node in ast.parse(code).body if isinstance(node, ast.ClassDef))
    names = {"ki": ki, "keras": keras, "WAY": 2}
    exec(compile(ast.unparse(definition), str(PAGE), "exec"), names)
    return names["LearnedWeights"]


@pytest.fixture(autouse=True)
def in_double_precision():
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def test_finite_differences_agree():
    """For every variable of the weigher, with the inner problem solved to the end."""
    keras.utils.set_random_seed(0)
    exact = {"dtype": "float64"}
    layers = [keras.layers.Dense(2, "tanh", **exact), keras.layers.Dense(1, "sigmoid", **exact)]
    weigher = keras.Sequential([keras.Input((None, 2), **exact), *layers])
    algorithm = documented()(
        weigher,
        proximal_strength=1.0,
        inner=ki.inner.GradientDescent(200, 0.3),
        linear=ki.linear.Dual(),
    )
    inputs = keras.Input((2,), **exact)
    network = keras.Model(inputs, keras.layers.Dense(2, **exact)(inputs))
    learner = ki.MetaLearner(network, algorithm)
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    data = tuple((rng.normal(size=(2, n, 2)), rng.integers(2, size=(2, n))) for n in (6, 5))
    objective = learner.objective(data, training=True)

    @tf.function(autograph=False)
    def query_loss():
        phi = algorithm.adapt(objective).phi
        return tf.reduce_sum(objective.query_losses(phi)[0])

    variables = [v.value for v in weigher.trainable_variables]  # those of TensorFlow
    gradients = tf.function(
        lambda: algorithm.meta_gradient(objective, variables).sums, autograph=False
    )()
    step = 1e-5
    for variable, gradient in zip(weigher.trainable_variables, gradients, strict=True):
        value = variable.numpy()
        for place in np.ndindex(value.shape):
            losses = []
            for sign in (1, -1):
                moved_value = value.copy()
                moved_value[place] += sign * step
                variable.assign(moved_value)
                losses.append(float(query_loss()))
            variable.assign(value)
            expected = (losses[0] - losses[1]) / (2 * step)
            np.testing.assert_allclose(np.asarray(gradient)[place], expected, rtol=1e-5, atol=1e-9)
    assert max(np.abs(g).max() for g in map(np.asarray, gradients)) > 1e-4
