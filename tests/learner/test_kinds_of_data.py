"""Everything that `fit` and `adapt` of Keras take as data, or its refusal by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.objectives.tasks import join_sets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 2)).astype("float32")
Y = RNG.normal(size=(2, 3, 1)).astype("float32")
TASKS = ((X, Y), (X, Y))


@keras.saving.register_keras_serializable(package="test_kinds_of_data")
class AddIfThere(keras.layers.Layer):
    def call(self, first, second):
        return first if second is None else first + second


def pair(optional=False):
    first, second = keras.Input((2,), name="a"), keras.Input((2,), name="b", optional=optional)
    features = AddIfThere()(first, second) if optional else first - second
    return keras.Model([first, second], keras.layers.Dense(1)(features))


def line():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def learner_of(network, algorithm=None, **settings):
    gradient_descent = ki.inner.GradientDescent(1)
    learner = ki.MetaLearner(network, algorithm or ki.MAML(gradient_descent), **settings)
    learner.compile("sgd", "mse", run_eagerly=True)
    return learner


class Batches(keras.utils.PyDataset):
    def __init__(self, batch):
        super().__init__()
        self.batch, self.ended = batch, 0

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch

    def on_epoch_end(self):
        self.ended += 1


@pytest.mark.slow
def test_one_element_has_many_forms():
    learner = learner_of(line())
    expected = learner.test_on_batch((X, Y), (X, Y))
    sparse = tf.sparse.from_dense(X)
    of_sparse = tf.data.Dataset.from_tensors(((sparse, Y), (sparse, Y)))
    for data in (TASKS, [[X, Y], [X, Y]], Batches([[X, Y], [X, Y]]), Batches(([X, Y], [X, Y]))):
        assert learner.evaluate(data, verbose=0) == pytest.approx(expected)
    assert learner.evaluate(of_sparse, verbose=0) == pytest.approx(expected)
    assert learner.test_on_batch(TASKS) == pytest.approx(expected)


@pytest.mark.slow
def test_a_data_set_of_lists_trains_and_hears_of_epochs():
    batches, validation = Batches([[X, Y], [X, Y]]), Batches([[X, Y], [X, Y]])
    history = learner_of(line()).fit(batches, validation_data=validation, epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert batches.ended >= 2


@pytest.mark.slow
def test_inputs_may_be_lists():
    learner = learner_of(pair())
    inputs = [X[0], 2 * X[0]]
    learner.train_on_batch((([X, X], Y), ([X, X], Y)))
    model = learner.adapt(inputs, Y[0])
    expected = learner.adapt_and_predict(tuple(inputs), Y[0], inputs)
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-5)


@pytest.mark.slow
def test_optional_inputs_may_be_none():
    learner = learner_of(pair(optional=True), ki.IMAML(inner=ki.inner.GradientDescent(1)))
    learner.fit((((X, None), Y), ((X, None), Y)), verbose=0)
    model = learner.adapt([X[0], None], Y[0])
    expected = learner.adapt_and_predict([X[0], None], Y[0], [X[0], None])
    np.testing.assert_allclose(model([X[0], None]), expected, rtol=1e-5)


@pytest.mark.slow
def test_weights_go_with_inputs_that_are_none():
    learner = learner_of(pair(optional=True), ki.IMAML(inner=ki.inner.GradientDescent(1)))
    weights = np.float32([[1, 1, 0]] * 2)
    task_set = ((X, None), Y, weights)
    assert np.isfinite(learner.fit((task_set, task_set), verbose=0).history["loss"]).all()
    model = learner.adapt([X[0], None], Y[0], sample_weight=weights[0])
    expected = learner.adapt([X[0, :2], None], Y[0, :2])
    np.testing.assert_allclose(model([X[0], None]), expected([X[0], None]), rtol=1e-5)


@pytest.mark.parametrize("call", ["predict", "predict_on_batch"])
def test_predictions_of_tasks_are_refused_in_our_words(call):
    with pytest.raises(ValueError, match=r"learner.adapt\(support_x, support_y\).predict"):
        getattr(learner_of(line()), call)(TASKS)
    assert getattr(learner_of(line()), call)(X[0]).shape == (3, 1)


@pytest.mark.parametrize("name", ["a learner with Reptile", "a task's normalization"])
def test_examples_of_another_length_are_refused_where_sets_are_joined(name):
    layers = [keras.Input((None, 2)), keras.layers.Conv1D(2, 1)]
    if name == "a task's normalization":
        layers.append(ki.layers.TaskBatchNormalization())
    network = keras.Sequential([*layers, keras.layers.GlobalAveragePooling1D()])
    learner = learner_of(network, None if len(layers) == 3 else ki.Reptile())
    short, long = (RNG.normal(size=(2, 3, length, 2)).astype("float32") for length in (4, 5))
    y = np.zeros((2, 3, 2), "float32")
    objective = learner.objective(((short, y), (long, y)), training=True)
    phi = learner.parameters.broadcast(learner.parameters.theta(), 2)
    join = (lambda: objective.query(phi)) if len(layers) == 3 else objective.tasks.merged
    with pytest.raises(ValueError, match="Expected examples of the same shape.*Pad"):
        join()


def test_lengths_that_a_graph_does_not_know_are_checked_when_it_runs():
    spec = tf.TensorSpec([2, 3, None, 2])
    join = tf.function(lambda s, q: join_sets(s, q, "as a test joins them"))
    graph = join.get_concrete_function(spec, spec)
    assert graph(tf.zeros((2, 3, 4, 2)), tf.zeros((2, 3, 4, 2))).shape == (2, 6, 4, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Pad all of them"):
        graph(tf.zeros((2, 3, 4, 2)), tf.zeros((2, 3, 5, 2)))


@pytest.mark.parametrize(
    ("layer", "mode"),
    [
        (keras.layers.TextVectorization, "tf_idf"),
        pytest.param(keras.layers.TextVectorization, "count", marks=pytest.mark.slow),
        pytest.param(keras.layers.IntegerLookup, "tf_idf", marks=pytest.mark.slow),
        pytest.param(keras.layers.IntegerLookup, "count", marks=pytest.mark.slow),
    ],
)
def test_vocabularies_go_along_into_an_adapted_model(layer, mode):
    if mode == "tf_idf" and keras.__version__ < "3.14":
        pytest.skip("Keras itself cannot load the weights of TF-IDF before 3.14")
    words = layer is keras.layers.TextVectorization
    data = np.array([["a b b"], ["c"], ["b c"]]) if words else np.array([[1, 2], [2, 2], [3, 1]])
    vocabulary = layer(output_mode=mode, max_tokens=6)
    vocabulary.adapt(data)
    inputs = keras.Input(data.shape[1:], dtype="string" if words else "int64")
    network = keras.Model(inputs, keras.layers.Dense(1)(vocabulary(inputs)))
    learner = learner_of(network)
    y = np.ones((3, 1), "float32")
    outputs = learner.adapt(tf.constant(data), y)(tf.constant(data))
    expected = learner.adapt_and_predict(tf.constant(data), y, tf.constant(data))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
