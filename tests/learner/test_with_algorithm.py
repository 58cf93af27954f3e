"""Another learner of the same network keeps what was learned."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 2)).astype("float32")
Y = RNG.normal(size=(2, 3, 1)).astype("float32")
TASKS = ((X, Y), (X, Y))


def learner_of(algorithm):
    network = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, "tanh"), keras.layers.Dense(1)]
    )
    learner = ki.MetaLearner(network, algorithm)
    learner.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], run_eagerly=True)
    return learner


def learned(parameter):
    """As the outer level changes it."""
    parameter.logarithm.assign(RNG.normal(size=parameter.logarithm.shape))
    return parameter.value().numpy()


@pytest.mark.parametrize("per", ["model", "layer", "weight"])
def test_a_learned_lambda_is_carried_to_other_steps_and_other_algorithms(per):
    strength = ki.ProximalStrength(0.3, per=per, learned=True)
    learner = learner_of(ki.IMAML(strength, inner=ki.inner.GradientDescent(2)))
    value = learned(learner.algorithm.proximal_strength)
    longer_learner = learner.with_algorithm(steps=7)
    assert longer_learner.algorithm.inner.steps == 7
    assert longer_learner.model is learner.model
    assert longer_learner.get_compile_config().keys() == learner.get_compile_config().keys()
    newton_algorithm = ki.IMAML(learner.algorithm.proximal_strength, inner=ki.inner.NewtonCG(3))
    for new_learner in (
        longer_learner,
        learner.with_algorithm(newton_algorithm),
        longer_learner.with_algorithm(curvature="hessian"),
    ):
        np.testing.assert_allclose(new_learner.algorithm.strength(), value, rtol=1e-6)
        assert new_learner.algorithm.proximal_strength.logarithm is not strength.logarithm
        assert new_learner.algorithm.proximal_strength.learned


@pytest.mark.parametrize("per", ["layer", "weight"])
def test_a_learned_step_size_is_carried(per, tmp_path):
    inner = ki.inner.GradientDescent(2, ki.LearningRate(0.1, per=per))
    learner = learner_of(ki.MAML(inner))
    value = learned(learner.algorithm.inner.learning_rate)
    longer = learner.with_algorithm(steps=5)
    np.testing.assert_allclose(longer.algorithm.inner.learning_rate.value(), value, rtol=1e-6)
    assert len(longer.trainable_variables) == len(learner.trainable_variables)
    longer.save(tmp_path / "longer.keras")
    loaded = keras.saving.load_model(tmp_path / "longer.keras")
    np.testing.assert_allclose(loaded.algorithm.inner.learning_rate.value(), value, rtol=1e-6)
    # A copy serves another network of the same layers, too.
    twin = learner_of(copy.deepcopy(learner.algorithm))
    np.testing.assert_allclose(twin.algorithm.inner.learning_rate.value(), value, rtol=1e-6)


@pytest.mark.parametrize("algorithm", [ki.IMAML, ki.MAML, ki.Reptile])
def test_algorithms_of_a_compiled_learner_are_copied(algorithm):
    learner = learner_of(algorithm())
    new_algorithm = copy.deepcopy(learner.algorithm)
    assert repr(new_algorithm) == repr(learner.algorithm)
    assert not new_algorithm.in_use
    assert learner_of(new_algorithm).algorithm is new_algorithm


def test_a_copy_for_another_network_is_refused_by_name():
    learner = learner_of(ki.IMAML(ki.ProximalStrength(per="layer", learned=True)))
    algorithm = copy.deepcopy(learner.algorithm)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Expected a network whose adapted weights are those"):
        ki.MetaLearner(network, algorithm)


def test_changes_that_are_none_are_refused():
    learner = learner_of(ki.MAML())
    with pytest.raises(ValueError, match=r"Expected arguments of keras_imaml.MAML.*\['rounds'\]"):
        learner.with_algorithm(rounds=3)
    with pytest.raises(ValueError, match="not both"):
        learner.with_algorithm(ki.Reptile(), steps=3)


SOLVERS = {
    "gradient descent": ki.inner.GradientDescent(0),
    "momentum": ki.inner.GradientDescent(0, 0.1, momentum=0.5),
    "adam": ki.inner.Adam(0),
    "newton": ki.inner.NewtonCG(0),
    "lbfgs": ki.inner.LBFGS(0),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_no_inner_step_is_a_baseline(name):
    learner = learner_of(ki.IMAML(0.5, inner=SOLVERS[name]))
    objective = learner.objective(TASKS, training=False)
    problem = learner.algorithm.inner_problem(objective)
    solution = learner.algorithm.adapt(objective)
    np.testing.assert_array_equal(solution.phi, problem.start())
    np.testing.assert_array_equal(solution.steps, [0, 0])
    np.testing.assert_allclose(solution.initial_value, problem.value(problem.start()), rtol=1e-6)
    assert learner.train_on_batch(TASKS, return_dict=True)["bad_tasks"] == 0


@pytest.mark.parametrize("settings", [{}, {"first_order": True}, {"recompute": True}])
def test_maml_without_steps_is_joint_training(settings):
    learner = learner_of(ki.MAML(ki.inner.GradientDescent(0), **settings))
    variables = learner.trainable_variables
    objective = learner.objective(TASKS, training=True)
    gradients = meta_gradient(learner.algorithm, objective, variables, None).gradients
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(learner.model(X.reshape(-1, 2)) - Y.reshape(-1, 1)))
    expected = tape.gradient(loss, [v.value for v in variables])
    for gradient, expected_gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
