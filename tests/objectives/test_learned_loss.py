"""A learned adaptation loss: its gradients, its learner, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from tests import learners


def network(dtype="float64"):
    return ki.models.MLP(1, hidden=(6, 5), activation="tanh", dtype=dtype)


def learned_loss(dtype="float64", **settings):
    h = ki.models.MLP(2, input_shape=(6,), hidden=(4,), activation="tanh", dtype=dtype)
    return ki.LearnedLoss(h, features=["hidden_2", "head"], **settings)


def episodes(dtype="float64", tasks=3):
    rng = np.random.default_rng(0)
    draw = lambda n: tf.constant(rng.normal(size=(tasks, n, 1)), dtype)  # noqa: E731
    x = draw(7)
    return (draw(4), ()), (x, tf.sin(x))


def learner_of(algorithm, dtype="float64", **settings):
    keras.utils.set_random_seed(3)
    learner = ki.MetaLearner(
        network(dtype), algorithm, learned_loss=learned_loss(dtype), **settings
    )
    loss = keras.losses.MeanSquaredError(dtype=dtype)
    learner.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss)
    return learner


def meta_gradient(learner, data):
    def step():
        objective = learner.objective(data, training=True)
        return learner.algorithm.meta_gradient(objective, learner.trainable_variables)

    return tf.function(step, autograph=False)()


def converged_algorithm(strength=1.0, **settings):
    inner = ki.inner.GradientDescent(steps=600, learning_rate=0.05, tolerance=1e-13)
    linear = ki.linear.ConjugateGradient(max_steps=100, tolerance=1e-13)
    return ki.IMAML(strength, inner, linear, **settings)


def unrolled_algorithm(strength=1.0):
    return ki.MAML(
        ki.inner.GradientDescent(steps=600, learning_rate=0.05), proximal_strength=strength
    )


def query_error(learner, data):
    """The mean query loss after adaptation, as a graph."""

    def error():
        objective = learner.objective(data, training=True)
        phi = learner.algorithm.adapt(objective).phi
        # Keras rounds the value of a compiled loss to float32 (and not its gradient).
        return tf.reduce_mean(tf.square(objective.query(phi).outputs - objective.tasks.query_y))

    return tf.function(error, autograph=False)


def by_finite_differences(loss, variables, directions):
    values, sides = [variable.numpy() for variable in variables], []
    for step in (1e-5, -1e-5):
        for variable, value, direction in zip(variables, values, directions, strict=True):
            variable.assign(value + step * direction)
        sides.append(float(loss()))
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return (sides[0] - sides[1]) / 2e-5


def test_the_implicit_gradient_equals_finite_differences():
    data, rng = episodes(), np.random.default_rng(1)
    learner = learner_of(converged_algorithm(curvature="hessian"))
    gradients = meta_gradient(learner, data).gradients
    psi = {id(v) for v in learner.learned_loss.trainable_variables}
    assert len(psi) == 4
    loss = query_error(learner, data)
    for of_psi in (True, False):
        selection = [
            (variable, gradient)
            for variable, gradient in zip(learner.trainable_variables, gradients, strict=True)
            if (id(variable) in psi) == of_psi
        ]
        assert len(selection) >= 4
        directions = [rng.normal(size=variable.shape) for variable, _ in selection]
        expected = by_finite_differences(loss, [v for v, _ in selection], directions)
        slope = sum(np.sum(g * d) for (_, g), d in zip(selection, directions, strict=True))
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_the_implicit_rule_agrees_with_unrolling_to_convergence():
    data = episodes()
    implicit_result = meta_gradient(learner_of(converged_algorithm(curvature="hessian")), data)
    unrolled_result = meta_gradient(learner_of(unrolled_algorithm()), data)
    for gradient, expected_gradient in zip(
        implicit_result.gradients, unrolled_result.gradients, strict=True
    ):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6, atol=1e-9)
    assert any(np.abs(g).max() > 1e-3 for g in implicit_result.gradients[-4:])  # of psi


@pytest.mark.slow
def test_gauss_newton_and_the_dual_see_the_learned_loss_as_least_squares():
    data = episodes()
    gradients = []
    for linear in (ki.linear.ConjugateGradient(100, 1e-13), ki.linear.Dual()):
        inner = ki.inner.NewtonCG(steps=30, linear_steps=20, tolerance=1e-12)
        gradients.append(meta_gradient(learner_of(ki.IMAML(1.0, inner, linear)), data).gradients)
    for iterative_gradient, exact_gradient in zip(*gradients, strict=True):
        np.testing.assert_allclose(iterative_gradient, exact_gradient, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_a_learned_loss_ignores_support_labels():
    (support_x, _), query = episodes()
    learner = learner_of(converged_algorithm())
    expected_gradients = meta_gradient(learner, ((support_x, tf.sin(support_x)), query)).gradients
    gradients = meta_gradient(learner, ((support_x, 7 + 0 * support_x), query)).gradients
    for a, b in zip(expected_gradients, gradients, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_fit_adapt_save_and_load_without_labels(tmp_path):
    learner = learner_of(ki.MAML(ki.inner.GradientDescent(2, 0.1)), dtype="float32")
    data = episodes("float32")
    before = [v.numpy() for v in learner.learned_loss.trainable_variables]
    learner.fit(learners.dataset(data), steps_per_epoch=2, verbose=0)
    after = [v.numpy() for v in learner.learned_loss.trainable_variables]
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    (support_x, _), (query_x, _) = tf.nest.map_structure(lambda x: x[0], data)
    expected = learner.adapt(support_x)(query_x)
    assert np.any(np.abs(expected - learner(query_x)) > 1e-5)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.saving.load_model(tmp_path / "learner.keras")
    np.testing.assert_allclose(loaded.adapt(support_x)(query_x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_export_needs_no_labels(tmp_path):
    learner = learner_of(ki.IMAML(1.0), dtype="float32")
    (support_x, _), (query_x, _) = tf.nest.map_structure(lambda x: x[0], episodes("float32"))
    learner.export(str(tmp_path / "exported"), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(
        served_model.adapt_and_predict(support_x, query_x)["predictions"],
        learner.adapt(support_x)(query_x),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("algorithm", "reason"),
    [(ki.Reptile, "Reptile.*no gradient"), (lambda: ki.MAML(first_order=True), "first_order")],
)
def test_algorithms_that_cannot_train_it_are_refused(algorithm, reason):
    with pytest.raises(ValueError, match=f"learned_loss.*{reason}"):
        ki.MetaLearner(network(), algorithm(), learned_loss=learned_loss())


def test_a_loss_without_curvature_may_be_the_outer_one():
    learner = ki.MetaLearner(network(), ki.IMAML(), learned_loss=learned_loss())
    learner.compile(loss="mae")  # refused where tasks adapt by it


def test_unknown_features_are_refused_with_the_known_ones():
    loss = ki.LearnedLoss(keras.layers.Dense(1), ["hidden_1", "elbow"])
    with pytest.raises(ValueError, match=r"hidden_2.*Received: \['elbow'\]"):
        ki.MetaLearner(network(), ki.IMAML(), learned_loss=loss)


def test_features_of_a_layer_that_is_called_twice_are_refused():
    x = keras.Input((3,))
    layer = keras.layers.Dense(3, name="twice")
    model = keras.Model(x, layer(layer(x)))
    loss = ki.LearnedLoss(keras.layers.Dense(1), ["twice"])
    with pytest.raises(ValueError, match="features.*once.*'twice'"):
        ki.MetaLearner(model, ki.IMAML(), learned_loss=loss)


def test_features_of_a_layer_that_another_model_calls_too():
    head = keras.layers.Dense(2, name="head")
    head(keras.Input((3,)))  # not of the network
    x = keras.Input((4,))
    model = keras.Model(x, head(keras.layers.Dense(3)(x)))
    loss = ki.LearnedLoss(keras.layers.Dense(1), ["head"])
    assert loss.prepare(model).output_shape == (None, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "mlp"}, "network.*'mlp'"),
        ({"network": keras.layers.Dense(1), "features": "head"}, "features.*'head'"),
        ({"network": keras.layers.Dense(1), "features": []}, r"features.*\[\]"),
    ],
)
def test_invalid_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        ki.LearnedLoss(**settings)


def test_adapting_without_labels_needs_a_learned_loss():
    learner = learners.compiled()
    with pytest.raises(ValueError, match="support_y.*learned_loss"):
        learner.adapt(np.zeros((3, 8, 8, 1), "float32"))


def test_the_default_feature_is_the_output():
    loss = ki.LearnedLoss(keras.layers.Dense(3))
    assert loss.prepare(network("float32")).output_shape == (None, 3)
    assert loss.network.kernel.shape == (1, 3)
