"""What no task changes is evaluated once, and nothing but the time is different."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching.trunk import split
from keras_imaml.learner import objective_builder
from keras_imaml.learner.meta_batch import meta_gradient
from keras_imaml.meta_parameters.parameters import Parameters
from tests import learners

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
ALGORITHMS = {
    "imaml": lambda: ki.IMAML(0.5),
    "imaml_newton_dual": lambda: ki.IMAML(0.5, ki.inner.NewtonCG(steps=2), ki.linear.Dual()),
    "imaml_hessian": lambda: ki.IMAML(ki.ProximalStrength(5.0, learned=True), curvature="hessian"),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1)),
    "maml_recomputed": lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1), recompute=True),
}
MIDDLE = ["norm", "head"]
QUICK = [("imaml", "head", False)]
CASES = [(algorithm, "head", False) for algorithm in ALGORITHMS]
CASES += [("imaml", MIDDLE, True), ("maml_recomputed", MIDDLE, False)]
CASES = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


def network(dtype):
    """A convolution, a normalization over the examples, and a head."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype=dtype),
            layers.Conv2D(4, 3, strides=2, activation="tanh", dtype=dtype),
            ki.layers.TaskBatchNormalization(name="norm", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(3, name="head", dtype=dtype),
        ]
    )


def learner_of(algorithm, adapt, splits, monkeypatch, transductive=False, dtype="float64"):
    keras.utils.set_random_seed(0)
    if not splits:
        monkeypatch.setattr(objective_builder, "split", lambda *_: None)
    learner = ki.MetaLearner(network(dtype), ALGORITHMS[algorithm](), adapt, transductive)
    monkeypatch.undo()
    learner.compile("sgd", CROSS_ENTROPY, ["accuracy"])
    return learner


def tasks(dtype="float64", count=4):
    episodes = ki.data.glyphs("train", 3, 1, 2, seed=0, classes=20, image_size=8)
    (support_x, support_y), (query_x, query_y) = next(iter(episodes.batch(count)))
    return (tf.cast(support_x, dtype), support_y), (tf.cast(query_x, dtype), query_y)


def gradients_of(learner, data, tasks_per_chunk=None):
    """Eagerly, which is quicker, or in a graph where it loops."""

    def step(data):
        objective = learner.objective(data, training=True)
        variables = learner.trainable_variables
        return meta_gradient(learner.algorithm, objective, variables, tasks_per_chunk)

    run = tf.function(step, autograph=False) if tasks_per_chunk else step
    return run(data)


@pytest.mark.parametrize(("algorithm", "adapt", "transductive"), CASES, ids=str)
def test_the_meta_gradient_is_that_of_the_unsplit_network(
    monkeypatch, algorithm, adapt, transductive
):
    split_learner, whole_learner = (
        learner_of(algorithm, adapt, splits, monkeypatch, transductive) for splits in (True, False)
    )
    assert split_learner._objectives.trunk is not None and whole_learner._objectives.trunk is None
    result, expected = (
        gradients_of(learner, tasks()) for learner in (split_learner, whole_learner)
    )
    for variable, a, b in zip(
        whole_learner.trainable_variables, result.gradients, expected.gradients, strict=True
    ):
        assert (a is None) == (b is None), variable.path
        if a is not None:
            scale = np.abs(b).max()
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7 * max(scale, 1e-3))
    np.testing.assert_allclose(result.query_losses, expected.query_losses, rtol=1e-9)
    for name in whole_learner.algorithm.diagnostics:
        np.testing.assert_allclose(
            result.diagnostics[name], expected.diagnostics[name], rtol=1e-6, atol=1e-9
        )


@pytest.mark.slow
def test_parts_of_the_meta_batch(monkeypatch):
    learner = learner_of("imaml", "head", True, monkeypatch)
    expected, result = (gradients_of(learner, tasks(), n) for n in (None, 2))
    for a, b in zip(expected.gradients, result.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.slow
def test_a_bad_task_leaves_other_tasks_unchanged(monkeypatch):
    learner = learner_of("imaml", "head", True, monkeypatch)
    (support_x, support_y), (query_x, query_y) = tasks(count=3)
    broken = tf.tensor_scatter_nd_update(support_x, [[1, 0, 0, 0, 0]], [np.nan])
    result = gradients_of(learner, ((broken, support_y), (query_x, query_y)))
    keep = lambda x: tf.gather(x, [0, 2])  # noqa: E731
    expected = gradients_of(
        learner, ((keep(support_x), keep(support_y)), (keep(query_x), keep(query_y)))
    )
    assert result.valid.numpy().tolist() == [True, False, True]
    for a, b in zip(result.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.slow
def test_evaluation_and_adaptation_are_those_of_the_unsplit_network(monkeypatch):
    split_learner, whole_learner = (
        learner_of("imaml", "head", splits, monkeypatch, dtype="float32")
        for splits in (True, False)
    )
    data = tasks("float32")
    (support_x, support_y), (query_x, _) = tf.nest.map_structure(lambda x: x[0], data)
    results = [
        (
            learner.test_on_batch(data[0], data[1], return_dict=True)["loss"],
            learner.adapt(support_x, support_y).predict(query_x, verbose=0),
            learner.adapt_and_predict(support_x, support_y, query_x),
        )
        for learner in (split_learner, whole_learner)
    ]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_trunk_is_not_in_the_inner_loop(monkeypatch):
    """Convolutions of a step, in the loops and outside: as many as without an inner loop."""

    def convolutions(splits):
        learner = learner_of("imaml", "head", splits, monkeypatch, dtype="float32")
        graph = learners.traced_step(learner, tasks("float32")).as_graph_def()
        operations = [node.op for function in graph.library.function for node in function.node_def]
        return operations.count("Conv2D")

    assert convolutions(False) > 0
    assert convolutions(True) == 0


def parts_of(model, adapt):
    return split(model, Parameters(model, adapt))


def assert_same_function(model, parts):
    x = np.random.default_rng(0).normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")
    np.testing.assert_array_equal(parts.remainder(parts.trunk(x)), model(x))


def test_a_sequential_model():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2, name="head")]
    )
    parts = parts_of(model, "head")
    paths = [v.path for v in model.layers[-1].variables]
    assert [v.path for v in parts.remainder.variables] == paths
    assert_same_function(model, parts)


def branches():
    inputs = keras.Input((4,))
    a, b = layers.Dense(3, name="a")(inputs), layers.Dense(3, name="b")(inputs)
    c = layers.Add()([a, b])
    return keras.Model(inputs, layers.Dense(2, name="c")(layers.Concatenate()([c, a])))


def test_branches_that_meet_after_the_first_adapted_weights():
    model = branches()
    parts = parts_of(model, "b")
    assert sorted(f.shape[-1] for f in parts.trunk.outputs) == [3, 4]  # `a`, and the input of `b`
    assert_same_function(model, parts)


def test_a_layer_that_is_used_twice():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, "tanh", name="shared")
    outputs = layers.Dense(2, name="head")(shared(shared(inputs)))
    model = keras.Model(inputs, outputs)
    assert_same_function(model, parts_of(model, "head"))
    assert parts_of(model, "shared") is None


def penalized():
    regularized_layer = layers.Dense(3, kernel_regularizer="l2")
    return keras.Sequential([keras.Input((4,)), regularized_layer, layers.Dense(2, name="head")])


def with_dropout_and_normalization():
    parts = [keras.Input((4,)), layers.Dense(3), layers.Dropout(0.5)]
    return keras.Sequential([*parts, ki.layers.TaskBatchNormalization(), head()])


def with_dropout():
    parts = [keras.Input((4,)), layers.Dense(5, "tanh"), layers.Dropout(0.5), head()]
    return keras.Sequential(parts)


def head():
    return layers.Dense(2, name="head")


def masked():
    parts = [keras.Input((4,)), layers.Embedding(5, 3, mask_zero=True), layers.GRU(2, name="head")]
    return keras.Sequential(parts)


def an_output_of_no_task():
    inputs = keras.Input((4,))
    x = layers.Dense(3)(inputs)
    return keras.Model(inputs, [layers.Dense(2, name="head")(x), layers.Dense(1)(x)])


def several_inputs(dtype="float32"):
    """Two inputs by name, one of them integers, and two outputs by name."""
    left = keras.Input((3,), dtype=dtype, name="left")
    right = keras.Input((2,), dtype="int32", name="right")
    x = layers.Dense(4, "tanh", name="body", dtype=dtype)(left)
    ends = [
        layers.Dense(n, name=name, dtype=dtype)(
            layers.Concatenate(dtype=dtype)([x, layers.Rescaling(0.1, dtype=dtype)(right)])
        )
        for n, name in ((2, "kind"), (1, "size"))
    ]
    return keras.Model({"left": left, "right": right}, {"kind": ends[0], "size": ends[1]})


def several_of_a_task(rng, examples, tasks=3):
    inputs = {
        "left": rng.normal(size=(tasks, examples, 3)),
        "right": rng.integers(0, 5, size=(tasks, examples, 2)).astype("int32"),
    }
    kinds = rng.integers(0, 2, size=(tasks, examples)).astype("int32")
    return inputs, {"kind": kinds, "size": rng.normal(size=(tasks, examples, 1))}


def both_ways(build, algorithm, adapt, loss, data, monkeypatch):
    """Meta-gradients with the trunk taken out and without."""
    results = []
    for splits in (True, False):
        keras.utils.set_random_seed(0)
        if not splits:
            monkeypatch.setattr(objective_builder, "split", lambda *_: None)
        learner = ki.MetaLearner(build(), ALGORITHMS[algorithm](), adapt)
        monkeypatch.undo()
        assert (learner._objectives.trunk is not None) == splits
        learner.compile("sgd", loss)
        results.append(gradients_of(learner, tf.nest.map_structure(tf.constant, data)))
    return results


def test_an_input_that_is_a_feature_leaves_the_model_as_it_was():
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    x = layers.Add()([layers.Dense(3)(left), right])
    model = keras.Model([left, right], layers.Dense(2, name="head")(layers.Dense(3, name="b")(x)))
    before = model.get_config()
    parts = parts_of(model, "b")
    assert model.get_config() == before
    parts = split(model, Parameters(model, lambda v: v.path.startswith(("b", "head"))))
    values = [np.random.default_rng(i).normal(size=(4, 3)).astype("float32") for i in range(2)]
    np.testing.assert_allclose(parts.remainder(parts.trunk(values)), model(values), rtol=1e-6)


@pytest.mark.slow
def test_several_inputs_and_outputs(monkeypatch):
    rng = np.random.default_rng(0)
    data = several_of_a_task(rng, 4), several_of_a_task(rng, 3)
    losses = {"kind": CROSS_ENTROPY, "size": keras.losses.MeanSquaredError(dtype="float64")}
    build = lambda: several_inputs("float64")  # noqa: E731
    result, expected = both_ways(build, "maml", ["kind", "size"], losses, data, monkeypatch)
    assert len(result.gradients) == 6
    for a, b in zip(result.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_dropout_before_the_head_is_drawn_as_in_the_unsplit_network(monkeypatch):
    rng = np.random.default_rng(0)
    draw = lambda n: (  # noqa: E731
        rng.normal(size=(3, n, 4)).astype("float32"),
        rng.integers(0, 2, size=(3, n)).astype("int32"),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    data = draw(6), draw(5)
    result, expected = both_ways(with_dropout, "imaml", "head", loss, data, monkeypatch)
    for a, b in zip(result.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


class Subclassed(keras.Model):
    """A Python `call`."""

    def __init__(self):
        super().__init__()
        self.body, self.head = layers.Dense(3), layers.Dense(2, name="head")

    def call(self, inputs):
        return self.head(self.body(inputs))


def subclassed():
    model = Subclassed()
    model(tf.zeros([1, 4]))
    return model


@pytest.mark.parametrize(
    "build",
    [penalized, with_dropout_and_normalization, masked, an_output_of_no_task, subclassed],
)
def test_a_network_of_unknown_structure_is_not_split(build):
    assert parts_of(build(), "head") is None


@pytest.mark.parametrize("adapt", [None, "a"])
def test_a_network_is_not_split_without_a_gain(adapt):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")]
    )
    assert parts_of(model, adapt) is None


@pytest.mark.slow
def test_a_trunk_learns_from_meta_batches_of_unknown_size():
    learner = ki.MetaLearner(network("float32"), ki.IMAML(0.5), adapt="head")
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    episodes = ki.data.glyphs("train", 3, 1, 2, seed=0, classes=20, image_size=8)
    before = [v.numpy() for v in learner.model.trainable_variables]
    history = learner.fit(episodes.take(5).batch(3), verbose=0).history  # 3 tasks, then 2
    assert np.isfinite(history["loss"][0])
    for start, variable in zip(before, learner.model.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - start).max() > 0, variable.path
