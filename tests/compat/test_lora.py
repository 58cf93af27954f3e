"""Low-rank weights adapt while the kernels stay: exact, small, and whole after saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml._compat.lora import low_rank_products
from keras_imaml.export.adapted_model import adapted_model
from keras_imaml.meta_parameters.parameters import Parameters
from tests import learners
from tests.batched import check, check_curvature, graph

TASKS, WORDS, VOCABULARY, WIDTH = 3, 5, 11, 8


def transformer(dtype="float32", dropout=0.0):
    """A small encoder of words, with one block and a head."""
    words = keras.Input((WORDS,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH, dtype=dtype, name="words")(words)
    heads = layers.MultiHeadAttention(2, 4, dropout=dropout, dtype=dtype, name="attention")
    x = layers.LayerNormalization(dtype=dtype, name="norm_1")(x + heads(x, x))
    y = layers.Dense(2 * WIDTH, "gelu", dtype=dtype, name="wide")(x)
    y = layers.Dropout(dropout, dtype=dtype)(layers.Dense(WIDTH, dtype=dtype, name="narrow")(y))
    x = layers.LayerNormalization(dtype=dtype, name="norm_2")(x + y)
    x = layers.GlobalAveragePooling1D(dtype=dtype)(x)
    return keras.Model(words, layers.Dense(2, dtype=dtype, name="head")(x), name="transformer")


def low_rank(model, rank=2, alpha=None, selects=lambda layer: True):
    """Enable LoRA on every layer that has it, with product weights that are not zero."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if hasattr(layer, "enable_lora") and layer.built and selects(layer):
            layer.enable_lora(rank, lora_alpha=alpha)
    for variable in model.trainable_variables:
        if "lora" in variable.name:
            variable.assign(0.3 * rng.normal(size=variable.shape))
    return model


def is_lora(variable):
    return "lora" in variable.name


def words(examples=4, seed=0, tasks=TASKS):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.integers(0, VOCABULARY, size=(tasks, examples, WORDS)).astype("int32"))


def meta_batch(tasks=TASKS):
    rng = np.random.default_rng(1)
    labels = lambda n: rng.integers(0, 2, size=(tasks, n)).astype("int32")  # noqa: E731
    return (words(4, 2, tasks), labels(4)), (words(6, 3, tasks), labels(6))


def one_step(first_order=True):
    """Quick to trace; the default of `learner_of` takes second derivatives."""
    return ki.MAML(ki.inner.GradientDescent(1, 0.1), first_order=first_order)


def learner_of(model, adapt=is_lora, algorithm=None):
    learner = ki.MetaLearner(model, algorithm or ki.IMAML(1.0), adapt=adapt)
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return learner


@pytest.fixture
def low_rank_weights_of_float64(monkeypatch):
    """Keras makes low-rank weights of float32, whatever the layer: too few digits for a test."""
    stock = layers.Layer.add_weight

    def add_weight(self, *args, **kwargs):
        return stock(self, *args, **{**kwargs, "dtype": "float64"})

    monkeypatch.setattr(layers.Layer, "add_weight", add_weight)


@pytest.mark.usefixtures("low_rank_weights_of_float64")
@pytest.mark.parametrize(
    "adapt",
    [
        is_lora,
        pytest.param("head", marks=pytest.mark.slow),
        pytest.param(["norm_1", "norm_2"], marks=pytest.mark.slow),
        pytest.param(["attention", "head"], marks=pytest.mark.slow),
    ],
)
def test_parts_of_a_transformer_adapt_as_task_by_task(adapt):
    model = low_rank(transformer("float64"), alpha=3)
    check(graph, model, words(), "float64", adapt)


@pytest.mark.slow
@pytest.mark.usefixtures("low_rank_weights_of_float64")
def test_products_with_the_hessian_equal_finite_differences():
    check_curvature(low_rank(transformer("float64")), words(), is_lora, atol=1e-6)


LAYERS = {
    "dense": ((3, 4), lambda: layers.Dense(5, "tanh")),
    "einsum_dense": ((3, 4), lambda: layers.EinsumDense("abc,cde->abde", (3, 2, 5), bias_axes="e")),
    "einsum_two_axes": ((3, 2, 4), lambda: layers.EinsumDense("abcd,cde->abe", (3, 5))),
    "einsum_other_axis": ((3, 4), lambda: layers.EinsumDense("abc,cd->adb", (5, 3))),
    "embedding": ((3,), lambda: layers.Embedding(7, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_low_rank_products_are_those_of_keras(name):
    shape, make = LAYERS[name]
    kind = "int32" if name == "embedding" else "float32"
    inputs = keras.Input(shape, dtype=kind)
    model = low_rank(keras.Model(inputs, make()(inputs)), alpha=5)
    x = np.random.default_rng(0).uniform(0, 6, size=(6, *shape)).astype(kind)
    plain = model(x)
    with low_rank_products():
        np.testing.assert_allclose(model(x), plain, rtol=1e-4, atol=1e-5)
    model.layers[-1].lora_enabled = False
    assert np.abs(model(x) - plain).max() > 0.1  # the low-rank weights do something


def test_no_kernel_is_made_for_each_task():
    """The largest tensor of a step with LoRA on a wide layer is far below tasks x kernel."""
    width, tasks = 512, 8
    inputs = keras.Input((width,))
    model = low_rank(keras.Sequential([inputs, layers.Dense(width), layers.Dense(2)]))
    learner = learner_of(model)
    x, y = tf.zeros([tasks, 3, width]), tf.zeros([tasks, 3], tf.int32)
    step = learners.traced_step(learner, ((x, y), (x, y)))
    graphs = [step, *(f.graph for f in step._functions.values() if hasattr(f, "graph"))]
    sizes = [
        output.shape.num_elements() or 0
        for function_graph in graphs
        for operation in function_graph.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    assert max(sizes) < tasks * width * width


@pytest.mark.slow
def test_only_the_low_rank_weights_are_trained_when_the_rest_is_frozen():
    model = low_rank(transformer(), selects=lambda layer: layer.name != "head")
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            variable.trainable = is_lora(variable)
    learner = learner_of(model, algorithm=one_step(first_order=False))
    assert {is_lora(v) for v in learner.trainable_variables} == {True}
    before = [v.numpy() for v in model.variables]
    learner.train_on_batch(*meta_batch())
    for start, variable in zip(before, model.variables, strict=True):
        has_changed = np.abs(variable.numpy() - start).max() > 0
        assert has_changed == is_lora(variable), variable.path


@pytest.mark.slow
def test_what_does_not_adapt_is_meta_learned_but_for_the_kernels():
    model = low_rank(transformer())
    learner = learner_of(model, algorithm=one_step())
    kernels = [v for v in model.variables if not v.trainable]
    before = {v.path: v.numpy() for v in model.variables}
    learner.train_on_batch(*meta_batch())
    frozen_paths = {v.path for v in model.variables if np.array_equal(v.numpy(), before[v.path])}
    assert {v.path for v in kernels} <= frozen_paths
    assert "norm_1/gamma" in before and "norm_1/gamma" not in frozen_paths


@pytest.mark.parametrize("change", ["lora", "frozen"])
def test_a_network_that_changes_afterwards_is_refused(change):
    model = transformer()
    learner = learner_of(model, adapt="head")
    if change == "lora":
        model.get_layer("wide").enable_lora(2)
    else:
        model.get_layer("head").trainable = False
    message = {
        "lora": "make a new MetaLearner. Received: .*wide/lora_kernel_a",
        "frozen": "call of `compile`.*head/kernel",
    }[change]
    (support_x, support_y), _ = meta_batch(1)
    for use in (
        lambda: learner.train_on_batch(*meta_batch()),
        lambda: learner.adapt(support_x[0], support_y[0]),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def everywhere(model):
    return low_rank(model, alpha=7)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_saved_learners_still_adapt(tmp_path, suffix):
    """Also where the configuration of a layer, such as attention, does not tell of LoRA."""
    model = everywhere(transformer())
    model.get_layer("norm_1").gamma.trainable = False  # of which Keras' configuration does not tell
    learner = learner_of(model, algorithm=one_step())
    for variable in learner.trainable_variables:
        variable.assign_add(0.1 * np.ones(variable.shape))
    file = str(tmp_path / f"learner{suffix}")
    if suffix == ".keras":
        learner.save(file)
        loaded_learner = keras.saving.load_model(file)
    else:
        learner.save_weights(file)
        loaded_learner = learner_of(everywhere(transformer()), algorithm=one_step())
        loaded_learner.load_weights(file)
    variables, loaded_variables = learner.model.variables, loaded_learner.model.variables
    for a, b in zip(variables, loaded_variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
        assert a.trainable == b.trainable or suffix != ".keras", a.path
    (support_x, support_y), (query_x, _) = meta_batch(1)
    task = support_x[0], support_y[0], query_x[0]
    expected = learner.adapt_and_predict(*task)
    predictions = loaded_learner.adapt_and_predict(*task)
    np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-6)


def quantized(mode, quantized_first):
    """Every kind of layer with LoRA, quantized before or after LoRA was enabled."""
    words = keras.Input((WORDS,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH, name="words")(words)
    x = layers.EinsumDense("abc,cd->abd", (WORDS, 4), name="einsum")(x)
    x = layers.Dense(6, "tanh", name="wide")(layers.Flatten()(x))
    model = keras.Model(words, layers.Dense(2, name="head")(x))
    chosen = [model.get_layer(name) for name in ("words", "einsum", "wide")]
    if quantized_first:
        for layer in chosen:
            layer.quantize(mode)
    low_rank(model, selects=lambda layer: layer.name != "head")
    if not quantized_first:
        for layer in chosen:
            layer.quantize(mode)
    return model


@pytest.mark.parametrize("suffix", [".keras", pytest.param(".weights.h5", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("mode", "quantized_first"),
    [("int8", True), pytest.param("int4", False, marks=pytest.mark.slow)],
)
def test_quantized_layers_come_back_as_they_were(tmp_path, suffix, mode, quantized_first):
    """Keras rounds the sum of kernel and low-rank product when it saves; a learner keeps both."""
    learner = learner_of(quantized(mode, quantized_first), algorithm=ki.MAML())
    file = str(tmp_path / f"learner{suffix}")
    if suffix == ".keras":
        learner.save(file)
        loaded_learner = keras.saving.load_model(file)
    else:
        learner.save_weights(file)
        loaded_learner = learner_of(quantized(mode, True), algorithm=ki.MAML())
        loaded_learner.load_weights(file)
    x = words()[0]
    np.testing.assert_allclose(loaded_learner.model(x), learner.model(x), rtol=1e-6, atol=1e-7)
    assert loaded_learner.model.get_layer("wide").quantization_mode == mode
    assert np.abs(loaded_learner.model.get_layer("wide").lora_kernel_b).max() > 0.1


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_a_quantized_model_of_one_task_refuses_to_be_rounded(tmp_path, mode):
    network = quantized(mode, True)
    parameters = Parameters(network)
    model = adapted_model(network, parameters, parameters.theta() + 0.1, words()[0], None)
    for save, name in ((model.save, "model.keras"), (model.save_weights, "model.weights.h5")):
        with pytest.raises(ValueError, match="The layer '.*words'.*model.export.*learner.save"):
            save(tmp_path / name)


@pytest.mark.slow
def test_a_quantized_model_of_one_task_is_exported_as_it_is(tmp_path):
    learner = learner_of(quantized("int4", True), algorithm=one_step())
    (support_x, support_y), (query_x, _) = meta_batch(1)
    model = learner.adapt(support_x[0], support_y[0])
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    served_outputs = loaded.serve(query_x[0])
    np.testing.assert_allclose(served_outputs, model(query_x[0]), rtol=1e-6)
    expected = learner.adapt_and_predict(support_x[0], support_y[0], query_x[0])
    np.testing.assert_allclose(served_outputs, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_the_model_of_one_task():
    learner = learner_of(everywhere(transformer()))
    (support_x, support_y), (query_x, _) = meta_batch(1)
    model = learner.adapt(support_x[0], support_y[0])
    expected = learner.adapt_and_predict(support_x[0], support_y[0], query_x[0])
    np.testing.assert_allclose(model(query_x[0]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(model(query_x[0]) - learner.model(query_x[0])).max() > 1e-3


def test_a_file_of_other_layers_is_refused(tmp_path):
    file = str(tmp_path / "learner.weights.h5")
    learner_of(everywhere(transformer())).save_weights(file)
    smaller_learner = learner_of(
        low_rank(transformer(), selects=lambda layer: layer.name == "wide")
    )
    with pytest.raises(ValueError, match="enable LoRA on the same layers"):
        smaller_learner.load_weights(file)


@pytest.mark.slow
def test_dropout_draws_anew_at_every_step():
    learner = learner_of(low_rank(transformer(dropout=0.5)), algorithm=one_step())
    learner.optimizer.learning_rate = 0.0
    losses = {float(learner.train_on_batch(*meta_batch(), return_dict=True)["loss"])}
    learner.reset_metrics()
    losses.add(float(learner.train_on_batch(*meta_batch(), return_dict=True)["loss"]))
    assert len(losses) == 2 and np.isfinite(list(losses)).all()
