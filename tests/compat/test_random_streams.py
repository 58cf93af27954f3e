"""Random numbers of layers: other ones for each task, and the same wherever it is computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml._compat.random_streams import RandomStreams, mixed, own_generator
from keras_imaml.batching import TaskNetwork
from keras_imaml.learner.meta_batch import meta_gradient
from keras_imaml.meta_parameters.parameters import Parameters
from tests import learners, problems
from tests.batched import graph
from tests.batching.random_layers import FEW_CHOICES, QUICK, SLOW

NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@keras.saving.register_keras_serializable(package="keras_imaml_tests")
class Noise(layers.Layer):
    """Draws without a generator of its own, or from one that Keras does not find."""

    def __init__(self, seed=None, **settings):
        super().__init__(**settings)
        generator = None if seed is None else seeded(seed)
        self.hidden = lambda: generator

    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.hidden())


def seeded(seed):
    return keras.random.SeedGenerator(seed)


def network_of(*parts, shape=(6,)):
    x = inputs = keras.Input(shape)
    for part in parts:
        x = part(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))
    parameters = Parameters(model)
    return TaskNetwork(model, parameters, RandomStreams(own_generator())), parameters.theta()


def same_tasks(theta, shape, tasks=6):
    """Weights, and inputs of examples that are the same for all tasks."""
    x = tf.random.stateless_uniform([4, *shape], [1, 2])
    return tf.repeat(theta[None], tasks, 0), tf.repeat(x[None], tasks, 0)


def distinct(rows):
    return len({row.tobytes() for row in np.round(rows, 4)})


@pytest.mark.filterwarnings("ignore:.*one task after the other")
@pytest.mark.parametrize("name", NAMES)
def test_tasks_draw_by_their_numbers(name):
    shape, make = {**QUICK, **SLOW}[name]
    network, theta = network_of(make(), shape=shape)
    phi, x = same_tasks(theta, shape)
    outputs = tf.function(
        lambda phi, x, numbers: network(phi, x, True, numbers=numbers).outputs,
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, *phi.shape[1:]]),
            tf.TensorSpec([None, *x.shape[1:]]),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    numbers = tf.range(3, 9)
    rows = outputs(phi, x, numbers).numpy()
    assert distinct(rows) >= (3 if name in FEW_CHOICES else 6)
    np.testing.assert_array_equal(outputs(phi, x, numbers), rows)
    for part in (slice(2, 3), slice(3, 5)):
        part_outputs = outputs(phi[part], x[part], numbers[part])
        np.testing.assert_allclose(part_outputs, rows[part], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_task_alone_is_not_folded_and_draws_the_same():
    network, theta = network_of(layers.Dropout(0.5), Noise())
    phi, x = same_tasks(theta, (6,))
    rows = network(phi, x, True).outputs
    outputs = network(phi[:1], x[:1], True, numbers=tf.constant([4])).outputs
    np.testing.assert_allclose(outputs[0], rows[4], rtol=1e-5)


@pytest.mark.parametrize(
    "part",
    [
        layers.Dropout(0.5),
        pytest.param(Noise(), marks=pytest.mark.slow),
        Noise(seed=3),
    ],
)
def test_streams_advance_and_start_again_from_the_seed(part):
    def draws(seed):
        keras.utils.set_random_seed(seed)
        copy = type(part).from_config({**part.get_config(), **({"seed": 3} if is_seeded else {})})
        network, theta = network_of(copy)
        phi, x = same_tasks(tf.ones_like(theta), (6,))
        first = network(phi, x, True).outputs
        network.streams.advance()
        return np.stack([first, network(phi, x, True).outputs])

    is_seeded = isinstance(part, Noise) and part.hidden() is not None
    first, second = draws(0), draws(0)
    assert distinct(first.reshape(12, 4, 2)) == 12
    np.testing.assert_array_equal(first, second)
    assert is_seeded or not np.array_equal(first, draws(1))


@pytest.mark.slow
def test_calls_of_a_layer_and_networks_draw_apart():
    dropout = layers.Dropout(0.5, seed=1)
    network, theta = network_of(lambda x: layers.Concatenate()([dropout(x), dropout(x)]))
    phi, x = same_tasks(theta, (6,))
    kernel = np.zeros([12, 2])
    kernel[:6, 0] = kernel[6:, 1] = 1
    phi = tf.repeat(tf.constant([*kernel.ravel(), 0, 0], tf.float32)[None], 6, 0)
    outputs = network(phi, x, True).outputs
    assert not np.any(np.isclose(outputs[..., 0], outputs[..., 1]).all(axis=1))
    streams = RandomStreams(own_generator())
    model = network_of(Noise())[0].model
    first_network, second_network = (
        TaskNetwork(model, Parameters(model), streams) for _ in range(2)
    )
    phi = tf.ones([6, 14])
    assert not np.any(
        np.isclose(first_network(phi, x, True).outputs, second_network(phi, x, True).outputs)
    )


def test_without_training_nothing_is_drawn():
    network, theta = network_of(layers.Dropout(0.5), Noise())
    phi, x = same_tasks(theta, (6,))
    outputs = network(phi, x, False).outputs
    np.testing.assert_allclose(outputs[0], network.model(x[0]), rtol=1e-5)
    assert not network.streams.generators


def test_numbers_are_mixed_as_splitmix_does():
    """The first outputs of its reference implementation for the seed 1234567."""
    step = 0x9E3779B97F4A7C15
    seeds = [(1234567 + i * step) % 2**64 for i in range(3)]
    numbers = mixed(tf.constant([s - 2**64 if s >= 2**63 else s for s in seeds], tf.int64))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(v) % 2**64 for v in numbers.numpy()] == expected


def test_draws_in_a_loop_are_refused():
    class Loop(layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = seeded(0)

        def call(self, x):
            add = lambda _, y: y + keras.random.normal((6,), seed=self.generator)  # noqa: E731
            return keras.ops.fori_loop(0, 3, add, x)

    network, theta = network_of(Loop())
    with pytest.raises(ValueError, match="draws in a loop.*before the loop"):
        network(*same_tasks(theta, (6,)), True)


def test_draws_of_a_loss_are_refused():
    def loss(y, z):
        return keras.ops.mean(keras.ops.square(y - z) * keras.random.uniform(keras.ops.shape(z)))

    learner = learners.compiled(keras.Sequential([keras.Input((4,)), layers.Dense(1)]), loss=loss)
    x, y = np.ones([2, 3, 4]), np.ones([2, 3, 1])
    with pytest.raises(ValueError, match="The loss draws random numbers.*GaussianNoise"):
        learner.train_on_batch((x, y), (x, y))


# Meta-gradients.


def drawing(dtype="float64", adapt=None, algorithm=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,), dtype=dtype), layers.Dense(4, "tanh", dtype=dtype)]
        + [layers.Dropout(0.4, dtype=dtype), layers.GaussianNoise(0.2, dtype=dtype)]
        + [layers.Dense(1, dtype=dtype, name="head")]
    )
    algorithm = algorithm or ki.IMAML(
        4.0,
        ki.inner.GradientDescent(steps=200, learning_rate=0.1),
        ki.linear.ConjugateGradient(max_steps=30, tolerance=1e-12),
        curvature="hessian",
    )
    learner = ki.MetaLearner(model, algorithm, adapt=adapt)
    learner.compile("sgd", keras.losses.MeanSquaredError(dtype=dtype))
    return learner


def regression(tasks, dtype="float64"):
    rng = np.random.default_rng(0)
    draw = lambda *shape: tf.constant(rng.normal(size=(tasks, *shape)), dtype)  # noqa: E731
    return (draw(4, 3), draw(4, 1)), (draw(5, 3), draw(5, 1))


@pytest.mark.slow
@pytest.mark.parametrize("adapt", [None, pytest.param("head", marks=pytest.mark.slow)])
def test_the_meta_gradient_is_that_of_finite_differences(adapt):
    """The inner solution, products with the curvature and the query loss see the same masks."""
    learner, data = drawing(adapt=adapt), regression(2)

    @tf.function(autograph=False)
    def meta():
        objective = learner.objective(data, training=True)
        result = meta_gradient(learner.algorithm, objective, learner.trainable_variables, None)
        # Keras adds up losses in float32, which is too rough for differences.
        return result.gradients, tf.reduce_mean(tf.square(data[1][1] - result.query_outputs))

    gradients, _ = meta()
    problems.check_by_differences(lambda: meta()[1], learner.trainable_variables, gradients)


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "lanes", "adapt"), [(1, 1, None), (4, 2, "head")])
def test_chunks_and_pipelines_draw_as_the_meta_batch_does(monkeypatch, limit, lanes, adapt):
    algorithm = ki.MAML(ki.inner.GradientDescent(1), first_order=True)
    learner, data = drawing(adapt=adapt, algorithm=algorithm), regression(4)

    def meta(limit):
        objective = learner.objective(data, training=True)
        return meta_gradient(learner.algorithm, objective, learner.trainable_variables, limit)

    expected = graph(lambda: meta(None))
    monkeypatch.setattr("keras_imaml.objectives.meta_batch_plan.pipelines", lambda: lanes)
    result = graph(lambda: meta(limit))
    np.testing.assert_allclose(result.query_losses, expected.query_losses, rtol=1e-9)
    for a, b in zip(result.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_steps_of_fit_draw_anew_and_evaluation_leaves_the_seeds():
    learner = drawing(algorithm=ki.MAML(ki.inner.GradientDescent(1), first_order=True))
    learner.optimizer.learning_rate = 0.0
    tasks = learners.dataset(tf.nest.map_structure(np.array, regression(3)))
    fit = lambda: learner.fit(tasks, steps_per_epoch=1, verbose=0)  # noqa: E731
    assert len({fit().history["loss"][0] for _ in range(3)}) == 3
    states = [v for v in learner.variables if "seed" in v.path]
    before = [v.numpy() for v in states]
    learner.evaluate(tasks, steps=1, verbose=0)
    np.testing.assert_array_equal([v.numpy() for v in states], before)
    assert sorted(count for _, count in before) == [3, 3]
    assert learner.random_streams.unseeded.state[1] == 0  # nothing drew without a seed
