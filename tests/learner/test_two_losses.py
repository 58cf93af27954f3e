"""`compile(loss, inner_loss, outer_penalties)`: what is trained, kept, told and refused."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_imaml as ki
from tests.learner import hyperparameters
from tests.learner.hyperparameters import SoftCrossEntropy, tasks

SUPPORT, QUERY = tasks()
SUPPORT_OF_ONE = (SUPPORT[0][0], SUPPORT[1][0])
DATA = tf.data.Dataset.from_tensors((SUPPORT, QUERY)).repeat()


def simple(algorithm=None, inner_loss=None, model=None, **compiled):
    """A learner of a linear layer."""
    inputs = keras.Input((hyperparameters.FEATURES,))
    model = model or keras.Model(inputs, layers.Dense(hyperparameters.CLASSES)(inputs))
    algorithm = algorithm or ki.MAML(ki.inner.GradientDescent(1, 0.1))
    learner = ki.MetaLearner(model, algorithm, adapt=compiled.pop("adapt", None))
    learner.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        inner_loss=inner_loss,
        **compiled,
    )
    return learner


def loss_values(learner):
    return [np.copy(v) for v in learner.loss_variables.variables]


@pytest.mark.slow
def test_variables_of_the_inner_loss_train_and_come_back(tmp_path):
    learner = simple(inner_loss=SoftCrossEntropy())
    before = loss_values(learner)
    assert [v.name for v in learner.trainable_variables[-3:]] == [
        "smoothing",
        "temperature",
        "weights_of_examples",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.fit(DATA, steps_per_epoch=1, verbose=0)
    after = loss_values(learner)
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    expected = learner.adapt_and_predict(*SUPPORT_OF_ONE, QUERY[0][0])

    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.saving.load_model(tmp_path / "learner.keras")
    np.testing.assert_array_equal(loss_values(loaded_learner)[2], after[2])
    predictions = loaded_learner.adapt_and_predict(*SUPPORT_OF_ONE, QUERY[0][0])
    np.testing.assert_allclose(predictions, expected, rtol=1e-6)

    learner.save_weights(tmp_path / "learner.weights.h5")
    new_learner = simple(inner_loss=SoftCrossEntropy())
    new_learner.load_weights(tmp_path / "learner.weights.h5")
    np.testing.assert_array_equal(loss_values(new_learner)[2], after[2])

    path = tf.train.Checkpoint(learner=learner).save(str(tmp_path / "checkpoint"))
    new_learner = simple(inner_loss=SoftCrossEntropy())
    tf.train.Checkpoint(learner=new_learner).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(loss_values(new_learner)[2], after[2])

    labels = tf.TensorSpec([None], tf.int32)
    learner.export(str(tmp_path / "exported"), verbose=False, target_spec=labels)
    served_model = tf.saved_model.load(str(tmp_path / "exported"))
    predictions = served_model.adapt_and_predict(*SUPPORT_OF_ONE, QUERY[0][0])["logits"]
    np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-6)


def test_weights_without_the_loss_that_they_belong_to_are_refused(tmp_path):
    simple(inner_loss=SoftCrossEntropy()).save_weights(tmp_path / "learner.weights.h5")
    learner = simple()
    with pytest.raises(ValueError, match="`inner_loss`.*3 loss_variables"):
        learner.load_weights(tmp_path / "learner.weights.h5")


def test_another_compile_and_another_learner_take_their_losses():
    learner = simple(inner_loss=SoftCrossEntropy())
    number = len(learner.trainable_variables)
    imaml_learner = learner.with_algorithm(ki.IMAML())
    assert imaml_learner.inner_loss is learner.inner_loss
    assert len(imaml_learner.loss_variables.variables) == 3
    assert "temperature" in capture(learner.summary)
    learner.compile(loss="mse", inner_loss=SoftCrossEntropy(), outer_penalties=True)
    assert len(learner.trainable_variables) == number and learner.outer_penalties
    learner.compile(loss="mse")
    assert len(learner.trainable_variables) == number - 3 and not learner.outer_penalties
    assert learner.inner_loss == "mse" and not hasattr(learner, "loss_variables")


def capture(summary):
    lines = []
    summary(print_fn=lines.append)
    return "\n".join(lines)


TEMPERATURE = keras.Variable(0.5, name="of_the_module")


def by_a_global(y, z):
    return keras.losses.sparse_categorical_crossentropy(y, z * TEMPERATURE, from_logits=True)


class LayerLoss(layers.Layer):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, y, z):
        return keras.losses.sparse_categorical_crossentropy(y, z * self.scale, from_logits=True)


def closed_over():
    scale = keras.Variable(1.0, name="closed_over")

    def loss(y, z):
        return keras.losses.sparse_categorical_crossentropy(y, z * scale, from_logits=True)

    return loss


@pytest.mark.parametrize(
    "loss",
    [by_a_global, LayerLoss(), closed_over()],
    ids=["function", "layer", "closure"],
)
def test_functions_and_layers_as_losses_have_their_variables_learned(loss):
    learner = simple(inner_loss=loss)
    objective = learner.objective((SUPPORT, QUERY), training=True)
    meta = learner.algorithm.meta_gradient(objective, learner.loss_variables.variables)
    assert len(meta.sums) == 1 and float(tf.abs(meta.sums[0])) > 1e-6


def test_a_loss_may_not_read_what_the_learner_does_not_see():
    hidden = tf.Variable(1.0, name="hidden")
    learner = simple(inner_loss=lambda y, z: tf.reduce_mean(hidden * z))
    with pytest.raises(ValueError, match="`inner_loss`.*keras.Variable.*hidden"):
        learner.objective((SUPPORT, QUERY), True).support_losses(
            learner.algorithm.inner_problem(learner.objective((SUPPORT, QUERY), True)).start()
        )


class NotBuilt(layers.Layer):
    def build(self, shape):
        self.built = True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner_loss": NotBuilt()}, "`inner_loss`.*built"),
        ({"inner_loss": "ctc"}, "`loss`.*second derivative"),
    ],
)
def test_losses_that_cannot_be_adapted_by_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simple(**arguments)


def test_a_learned_loss_and_an_inner_loss_exclude_each_other():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    learned = ki.LearnedLoss(layers.Dense(2))
    learner = ki.MetaLearner(model, ki.MAML(), learned_loss=learned)
    with pytest.raises(ValueError, match="`inner_loss`.*learned_loss"):
        learner.compile(loss="mse", inner_loss="mae")


def test_only_the_inner_loss_needs_a_second_derivative():
    learner = simple(ki.IMAML(), inner_loss="mse", model=None)
    learner.compile(loss="mae", inner_loss="mse")
    with pytest.raises(ValueError, match="Gauss-Newton"):
        learner.compile(loss="mse", inner_loss="mae")


def test_variables_of_a_loss_of_both_levels_are_constants_and_named():
    learner = simple()
    with pytest.warns(UserWarning, match="trainable variables.*inner_loss.*temperature"):
        learner.compile(loss=SoftCrossEntropy())
    assert not hasattr(learner, "loss_variables")


def regularized_network():
    """A network whose body all tasks share, with regularizers on both layers."""
    inputs = keras.Input((hyperparameters.FEATURES,))
    body = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.3), name="body")(inputs)
    head = layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.2), name="head")
    return keras.Model(inputs, head(body))


@pytest.mark.parametrize("penalties", [None, True])
def test_regularizers_count_where_their_weights_are_trained(penalties):
    learner = simple(model=regularized_network(), adapt="head", outer_penalties=penalties)
    objective = learner.objective((SUPPORT, QUERY), training=True)
    phi = learner.algorithm.inner_problem(objective).start() * 1.5
    losses, outputs = objective.query_losses(phi)
    plain = keras.losses.sparse_categorical_crossentropy(QUERY[1], outputs, from_logits=True)
    of_body = 0.3 * np.sum(np.square(learner.model.get_layer("body").kernel))
    of_head = 0.2 * np.sum(np.square(1.5 * learner.model.get_layer("head").kernel.numpy()))
    expected = tf.reduce_mean(plain, axis=1) + of_body + (of_head if penalties else 0)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    plain = keras.losses.sparse_categorical_crossentropy(
        SUPPORT[1], objective.support(phi).outputs, from_logits=True
    )
    expected = tf.reduce_mean(plain, axis=1) + of_body + of_head
    np.testing.assert_allclose(objective.support_losses(phi), expected, rtol=1e-5)


def test_supervised_training_keeps_its_penalties():
    learner = simple(ki.algorithms.Supervised(), model=regularized_network())
    assert learner.outer_penalties
    assert not learner.with_algorithm(ki.MAML()).outer_penalties


class Idle(layers.Layer):
    """Penalizes what no task changes."""

    def build(self, shape):
        self.idle = self.add_weight(shape=(), initializer="ones", name="idle")

    def call(self, x):
        self.add_loss(keras.ops.square(self.idle))
        return x


def with_idle():
    inputs = keras.Input((hyperparameters.FEATURES,))
    return keras.Model(inputs, layers.Dense(3, name="head")(Idle()(inputs)))


EXAMPLES_OF = {ki.Reptile: 2 * hyperparameters.EXAMPLES}  # it joins support and query sets


@pytest.mark.parametrize(
    ("algorithm", "model", "loss", "names"),
    [
        pytest.param(
            ki.MAML(first_order=True),
            None,
            SoftCrossEntropy,
            ["smoothing", "temperature"],
            id="first_order",
            marks=pytest.mark.slow,
        ),
        pytest.param(ki.MAML(), with_idle, None, ["idle"], id="maml", marks=pytest.mark.slow),
        pytest.param(ki.IMAML(), with_idle, None, ["idle"], id="imaml"),
        pytest.param(ki.Reptile(), None, SoftCrossEntropy, ["weights_of_examples"], id="reptile"),
    ],
)
def test_meta_parameters_that_nothing_depends_on_are_named(algorithm, model, loss, names):
    learner = simple(
        algorithm,
        inner_loss=loss and loss(EXAMPLES_OF.get(type(algorithm), hyperparameters.EXAMPLES)),
        model=model and model(),
        adapt="head" if model else None,
    )
    with pytest.warns(UserWarning, match="does not depend") as records:
        learner.fit(DATA, steps_per_epoch=2, verbose=0)
    messages = [str(w.message) for w in records if "does not depend" in str(w.message)]
    assert len(messages) == 1 and all(name in messages[0] for name in names)
    assert "kernel" not in messages[0]
