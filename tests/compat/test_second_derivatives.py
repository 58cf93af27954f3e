"""Products with the curvature of every operation that Keras emits, against differences."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat import second_derivatives
from keras_imaml._compat.second_derivatives import exact_moments
from tests import batched
from tests.second_derivatives import (
    ADDED,
    DOCUMENT,
    KERAS,
    PIXELS,
    REFUSED,
    input_of,
    relative_error,
    replaced,
)


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def check(case, compiled):
    with exact_moments():
        assert relative_error(case, compiled) < (2e-3 if case.single else 1e-6)


@named(ADDED)
def test_what_tensorflow_lacks_is_exact(case):
    check(case, compiled=False)
    check(case, compiled=True)


@pytest.mark.slow
@named(KERAS)
def test_what_keras_emits_is_exact(case):
    check(case, compiled=True)


def test_the_list_holds_every_activation_and_loss_of_keras():
    names = {case.name.partition(",")[0] for case in KERAS} | {name for name, _, _ in REFUSED}
    for module in ("activations", "losses"):
        for name, _ in inspect.getmembers(getattr(keras, module), inspect.isfunction):
            if name not in ("deserialize", "get", "serialize"):
                assert f"{module}.{name}" in names


def test_the_tables_of_the_documentation_are_those_of_the_list():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == replaced(text), "run: python -m tests.second_derivatives"


@pytest.mark.parametrize("axis", [None, 3])
@pytest.mark.parametrize("compiled", [False, True])
def test_products_with_fake_quantization_follow_the_straight_through_rule(axis, compiled):
    # The loss is q^3 / 3, whose derivative is q^2 where q is in range, and bends by 2 q there.
    x, random = tf.cast(input_of_pixels(), tf.float32), np.random.default_rng(0)
    v = tf.constant(random.normal(size=PIXELS), tf.float32)
    low, high = (0.2, 0.6) if axis is None else ([0.2, 0.1, 0.0], [0.6, 0.7, 0.8])
    low, high = tf.constant(low), tf.constant(high)
    name = "fake_quant_with_min_max_vars" + ("_per_channel" if axis else "")
    quantized = getattr(tf.quantization, name)

    def product(x, low, high):
        with tf.GradientTape() as outer:
            outer.watch([x, low, high])
            with tf.GradientTape() as tape:
                tape.watch([x, low, high])
                loss = tf.reduce_sum(quantized(x, low, high) ** 3) / 3
            slopes = tape.gradient(loss, [x, low, high])
        return outer.gradient(slopes, [x, low, high], [v, tf.zeros_like(low), high])

    products = (tf.function(product, autograph=False) if compiled else product)(x, low, high)
    q = quantized(x, low, high)
    range_limit = 9 * tf.ones_like(x)
    is_below = x < quantized(-range_limit, low, high)
    is_above = x > quantized(range_limit, low, high)
    # What a step of the three does to q.
    output_step = tf.where(is_below, 0.0, tf.where(is_above, high, v))
    bend = 2 * q * output_step
    np.testing.assert_allclose(
        products[0], tf.where(is_below | is_above, 0.0, bend), rtol=1e-4, atol=1e-5
    )
    axes = None if axis is None else [0, 1, 2]
    expected = tf.reduce_sum(tf.where(is_above, bend, 0.0), axes)
    np.testing.assert_allclose(products[2], expected, rtol=1e-4, atol=1e-5)


def input_of_pixels():
    return input_of(ADDED[1])


@pytest.mark.parametrize(
    ("name", "function", "kind"),
    [row for row in REFUSED if row[1]],
    ids=[name for name, function, _ in REFUSED if function],
)
def test_the_rest_is_refused_by_name_with_a_way_out(name, function, kind):
    x = tf.cast(input_of_pixels(), tf.float32)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(function(x) ** 2)
        slope = tape.gradient(loss, x)
    with pytest.raises(NotImplementedError, match=f"{kind}.*first_order=True"):
        outer.gradient(slope, x)


def test_existing_gradients_of_tensorflow_are_kept():
    def stock_gradient(op, *slopes):
        return None

    registry = {kind: {"type": stock_gradient} for kind in second_derivatives.MISSING}
    registry |= {kind: {"type": stock_gradient} for kind in second_derivatives.REFUSED}
    for kind, (stopped_kind, _) in second_derivatives.STOPPED.items():
        registry |= {kind: {"type": stock_gradient}, stopped_kind: {"type": stock_gradient}}
    second_derivatives._complete(registry)
    assert all(entry["type"] is stock_gradient for entry in registry.values())


def test_the_table_of_losses_refuses_ctc_where_second_derivatives_are_taken():
    algorithms = [ki.IMAML(), ki.IMAML(curvature="hessian"), ki.MAML()]
    algorithms += [ki.Reptile(inner=ki.inner.NewtonCG())]
    for algorithm in algorithms:
        for loss in ("ctc", [keras.losses.CTC()], keras.losses.ctc):
            with pytest.raises(ValueError, match=r"no second derivative.*first_order=True"):
                algorithm.check_loss(loss)
    for algorithm in (ki.MAML(first_order=True), ki.Reptile()):
        algorithm.check_loss(keras.losses.CTC())


RESAMPLED = {
    "bilinear": lambda: keras.layers.UpSampling2D(interpolation="bilinear"),
    "nearest": keras.layers.UpSampling2D,
    "Resizing": lambda: keras.layers.Resizing(6, 5),
    # TensorFlow has no first derivative of it in float64.
    "antialias": lambda: keras.layers.Resizing(2, 2, antialias=True),
    "softsign": lambda: keras.layers.Activation("softsign"),
}


@pytest.mark.parametrize("name", ["bilinear", "antialias"])
def test_all_tasks_are_resized_together(name):
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 2), RESAMPLED[name]()]
    )
    # A fallback to a loop over the tasks would be a warning, which is an error here.
    batched.check(batched.graph, network, batched.inputs_of_tasks("float32", (4, 4, 1)), "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bilinear", {}),
        ("nearest", {}),
        ("Resizing", {}),
        ("softsign", {"inner": ki.inner.NewtonCG(12, 20, "hessian")}),
    ],
    ids=["bilinear", "nearest", "Resizing", "softsign and NewtonCG"],
)
def test_the_meta_gradient_sees_the_weights_before(name, settings):
    keras.config.set_floatx("float64")
    try:
        error = relative_error_of_meta_gradient(RESAMPLED[name](), settings)
    finally:
        keras.config.set_floatx("float32")
    assert error < 2e-3


def relative_error_of_meta_gradient(layer, settings):
    """The implicit meta-gradient along a direction, against differences of the query loss."""
    network = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, activation="tanh"),
            layer,
            keras.layers.Conv2D(1, 2, activation="tanh"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    inner = ki.inner.GradientDescent(steps=120, learning_rate=0.1)  # to rounding
    linear = ki.linear.ConjugateGradient(max_steps=30)
    settings = {"inner": inner, "linear": linear, **settings}
    algorithm = ki.IMAML(2.0, curvature="hessian", **settings)
    learner = ki.MetaLearner(network, algorithm)
    learner.compile(loss="mse")
    random = np.random.default_rng(0)
    support, query = random.normal(size=(2, 2, 3, 4, 4, 1))
    labels = 0.3 * random.normal(size=(2, 2, 3, 1))
    data = (support, labels[0]), (query, labels[1])
    variables = learner.trainable_variables
    direction = [random.normal(size=v.shape) for v in variables]
    start = [v.numpy() for v in variables]

    def query_loss():
        objective = learner.objective(data, training=True)
        return tf.reduce_mean(objective.query_losses(algorithm.adapt(objective).phi)[0])

    query_loss = tf.function(query_loss, autograph=False)

    def loss_at(step):
        for variable, value, change in zip(variables, start, direction, strict=True):
            variable.assign(value + step * change)
        return float(query_loss())

    slope = (loss_at(1e-3) - loss_at(-1e-3)) / 2e-3
    loss_at(0.0)
    meta = tf.function(
        lambda: (
            algorithm.meta_gradient(learner.objective(data, training=True), variables).gradients
        ),
        autograph=False,
    )()
    derivative = sum(np.sum(g * change) for g, change in zip(meta, direction, strict=True))
    return abs(derivative - slope) / abs(slope)


LOSSES_WITH_LABELS = [
    (keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float64"), False),
    (keras.losses.CategoricalCrossentropy(dtype="float64"), True),
    (keras.losses.CategoricalFocalCrossentropy(from_logits=True, dtype="float64"), False),
    (keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64"), False),
    (keras.losses.BinaryFocalCrossentropy(from_logits=True, dtype="float64"), False),
    (keras.losses.KLDivergence(dtype="float64"), True),
    (keras.losses.Poisson(dtype="float64"), True),
    (keras.losses.MeanSquaredError(dtype="float64"), False),
    (keras.losses.MeanSquaredLogarithmicError(dtype="float64"), True),
    (keras.losses.Huber(dtype="float64"), False),
    (keras.losses.LogCosh(dtype="float64"), False),
    (keras.losses.CosineSimilarity(dtype="float64"), False),
    (keras.losses.Dice(dtype="float64"), True),
    (keras.losses.Tversky(dtype="float64"), True),
]


@pytest.mark.parametrize(("loss", "of_shares"), LOSSES_WITH_LABELS, ids=lambda x: str(x)[:40])
def test_slopes_of_losses_depend_on_labels_as_differences_do(loss, of_shares):
    """Label smoothing and teachers enter by the labels."""
    rng = np.random.default_rng(0)
    y = tf.nn.softmax(tf.constant(rng.normal(size=(2, 3))))
    z = tf.constant(rng.normal(size=(2, 3)))
    z = tf.nn.softmax(z) if of_shares else z
    direction = rng.normal(size=(2, 3))
    direction -= direction.mean(axis=1, keepdims=True)  # labels keep their sum

    def slope(y):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(y, z)
        return tape.gradient(value, z)

    u = rng.normal(size=(2, 3))
    with tf.GradientTape() as tape:
        tape.watch(y)
        slope_product = tf.reduce_sum(u * slope(y))
    derivative = np.sum(tape.gradient(slope_product, y) * direction)
    ends = [np.sum(u * slope(y + sign * 1e-5 * direction)) for sign in (1, -1)]
    np.testing.assert_allclose(derivative, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-10)
