"""However a layer reads its weights, they are those of the task, or it is refused by name."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from keras_imaml.batching import TaskLoss, TaskNetwork
from keras_imaml.meta_parameters.parameters import Parameters
from tests.batched import check, graph, inputs_of_tasks, weights_of_tasks

SPEC = tf.TensorSpec([None, 2], tf.float64)


class Plain(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(
            (shape[-1], 3), keras.initializers.RandomNormal(seed=1), name="kernel"
        )
        self.prepare()

    def prepare(self):
        pass

    def call(self, x):
        return tf.tanh(tf.matmul(x, self.kernel))


class Function(Plain):
    @tf.function
    def call(self, x):
        z = tf.matmul(x, self.kernel)
        if tf.reduce_sum(x) > -1e9:  # which needs AutoGraph
            z = tf.tanh(z)
        return z


class Signature(Plain):
    @tf.function(input_signature=[SPEC])
    def call(self, x):
        return super().call(x)


class Compiled(Plain):
    call = tf.function(Plain.call, jit_compile=True)


class TracedBefore(Plain):
    def prepare(self):
        self.function = tf.function(lambda x, factor: tf.tanh(tf.matmul(x, self.kernel)) * factor)
        self.function(tf.zeros([1, 2], tf.float64), np.ones(3))

    def call(self, x):
        return self.function(x, factor=np.ones(3))


class InBranch(Plain):
    def call(self, x):
        function = tf.function(lambda: super(InBranch, self).call(x))
        return tf.cond(tf.constant(True), function, lambda: tf.zeros_like(function()))


class Network(keras.Model):
    def __init__(self, layer):
        super().__init__(dtype="float64", name="network")
        self.layer = layer

    def call(self, x):
        return self.layer(x)


class FunctionNetwork(Network):
    @tf.function
    def call(self, x):
        return self.layer(x)


class Concrete(Plain):
    def prepare(self):
        self.function = tf.function(super().call).get_concrete_function(SPEC)

    def call(self, x):
        return self.function(x)


class InnerConcrete(Concrete):
    def call(self, x):
        return tf.cond(tf.constant(True), lambda: self.function(x), lambda: 2.0 * self.function(x))


class Closure(Plain):
    def prepare(self):
        self.value = self.kernel.value

    def call(self, x):
        return tf.matmul(x, self.value)


class CachedTensor(Plain):
    def prepare(self):
        self.cached = [tf.convert_to_tensor(self.kernel)]

    def call(self, x):
        return tf.matmul(x, self.cached[0])


class CachedProduct(Plain):
    def prepare(self):
        self.gram = tf.matmul(self.kernel, self.kernel, transpose_b=True)

    def call(self, x):
        return tf.matmul(x, self.gram)


class TensorFlowVariable(Plain):
    def prepare(self):
        self.other = tf.Variable(tf.ones([3], tf.float64))

    def call(self, x):
        return super().call(x) * self.other


class Module(Plain):
    def prepare(self):
        self.module = tf.Module()
        self.module.other = tf.Variable(tf.ones([3], tf.float64))

    def call(self, x):
        return super().call(x) * self.module.other


class Untracked(Plain):
    def prepare(self):
        self.holder = types.SimpleNamespace(other=keras.Variable(np.ones(3)))

    def call(self, x):
        return super().call(x) * keras.ops.cast(self.holder.other, "float64")


class Python(Plain):
    def call(self, x):
        inner = lambda x: super(Python, self).call(x)  # noqa: E731
        return tf.ensure_shape(tf.py_function(inner, [x], tf.float64), [None, 3])


RIGHT = (Plain, Function, Signature, Compiled, TracedBefore, InBranch)
REFUSED = {
    Concrete: "reads a variable past Keras.*traced before.*add_weight.*kernel",
    InnerConcrete: "reads a variable past Keras.*kernel",
    Closure: "reads a variable past Keras.*kernel",
    CachedTensor: "does not read its weight .*in `build`.*add_weight",
    CachedProduct: "does not read its weight .*in `build`.*add_weight",
    TensorFlowVariable: "no weight of the network.*add_weight.*trainable=False.*Variable",
    Module: "no weight of the network.*add_weight.*trainable=False.*Variable",
    Untracked: "no weight of the network.*add_weight.*trainable=False",
    Python: "calls Python.*without trainable weights, or in the input pipeline",
}


def subclassed(layer, kind=Network):
    layer.build((None, 2))
    model = kind(layer)
    model(tf.zeros([1, 2], tf.float64))
    return model


def functional(layer):
    inputs = keras.Input((2,), dtype="float64")
    return keras.Model(inputs, layer(inputs))


def evaluate(model, adapt=None, tasks=3):
    parameters = Parameters(model, adapt)
    network = TaskNetwork(model, parameters)
    x = inputs_of_tasks(shape=(2,))[:tasks]
    return network(weights_of_tasks(parameters, tasks), x, True).outputs


@pytest.mark.parametrize("kind", RIGHT)
def test_functions_read_the_weights_of_the_task(kind):
    make = functional if kind is not InBranch else subclassed
    check(graph, make(kind(dtype="float64")), inputs_of_tasks(shape=(2,)))


@pytest.mark.parametrize("kind", [Plain, Function])
def test_functions_around_a_model_read_the_weights_of_the_task(kind):
    model = subclassed(kind(dtype="float64"), FunctionNetwork)
    check(graph, model, inputs_of_tasks(shape=(2,)))


@pytest.mark.parametrize("kind", REFUSED)
def test_other_reads_are_refused(kind):
    name = f"the_{kind.__name__.lower()}"
    with pytest.raises(ValueError, match=f"(?s)The layer '.*{name}.*{REFUSED[kind]}"):
        evaluate(subclassed(kind(dtype="float64", name=name)))
    with pytest.raises(ValueError, match=name):
        evaluate(subclassed(kind(dtype="float64", name=name)), tasks=1)


@pytest.mark.parametrize("kind", [Concrete, Closure, CachedProduct, Untracked])
def test_what_is_frozen_may_be_read_in_any_way(kind):
    layer = kind(dtype="float64")
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layer])
    model.add(layers.Dense(1, dtype="float64"))
    layer.trainable = False
    if kind is Untracked:
        layer.holder.other.trainable = False
    check(graph, model, inputs_of_tasks(shape=(2,)))


def test_a_weight_that_is_not_read_is_named():
    class Unused(Plain):
        def prepare(self):
            self.spare = self.add_weight((2,), name="spare")

    with pytest.warns(UserWarning, match="not read.*no task changes.*unused.*spare"):
        evaluate(functional(Unused(dtype="float64", name="unused")))


def test_weights_that_all_tasks_share_are_refused_too():
    layer = Concrete(dtype="float64", name="base")
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layer])
    model.add(layers.Dense(1, dtype="float64", name="head"))
    with pytest.raises(ValueError, match="base' reads a variable past Keras"):
        evaluate(model, "head")


def test_constants_of_a_layer_are_taken_as_they_are():
    class Scaled(Plain):
        def prepare(self):
            self.scale = tf.constant([1.0, 2.0, 3.0], tf.float64)
            self.counts = tf.Variable([1.0, 2.0, 3.0], trainable=False, dtype=tf.float64)

        def call(self, x):
            return super().call(x) * self.scale * self.counts

    check(graph, subclassed(Scaled(dtype="float64")), inputs_of_tasks(shape=(2,)))


def test_functions_outside_of_the_network_stay_graphs():
    layer = Function(dtype="float64")
    model = subclassed(layer)
    evaluate(model)
    eager_calls = []

    @tf.function
    def user_function():
        eager_calls.append(tf.executing_eagerly())

    user_function()
    assert eager_calls == [False]


def test_a_loss_that_reads_weights_that_adapt_is_refused():
    model = functional(Plain(dtype="float64"))
    parameters = Parameters(model)
    kernel = model.trainable_variables[0]

    def loss(y, z):
        return tf.reduce_mean((y - z) ** 2) + tf.reduce_sum(kernel.value**2)

    y = tf.zeros([2, 3, 3], tf.float64)
    with pytest.raises(ValueError, match=r"`loss`.*kernel_regularizer.*add_loss.*plain"):
        TaskLoss(loss, "float64", parameters)(y, y)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ki.IMAML, ki.MAML, ki.Reptile])
def test_a_learner_trains_such_a_network_as_a_plain_one(algorithm):
    rng = np.random.default_rng(0)
    draw = lambda n, size: rng.normal(size=(3, n, size))  # noqa: E731
    data = ((draw(4, 2), draw(4, 3)), (draw(5, 2), draw(5, 3)))
    after = []
    for layer, kind in ((Plain, Network), (Signature, FunctionNetwork)):
        model = subclassed(layer(dtype="float64"), kind)
        learner = ki.MetaLearner(model, algorithm())
        learner.compile(keras.optimizers.SGD(0.5), "mse")
        start = learner.model.get_weights()[0]
        learner.train_on_batch(*data)
        after.append(learner.model.get_weights()[0])
        assert np.abs(after[-1] - start).max() > 1e-4
    np.testing.assert_allclose(after[1], after[0], rtol=1e-12)
