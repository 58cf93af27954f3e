"""Adaptation to unlabelled queries: its derivative, its rounds, and what it is good for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.algorithms.pseudo_labels import WithPseudoLabels, pseudo_labels
from tests import learners, problems


def solved(**settings):
    """iMAML whose inner problem, strongly convex for a head, is solved to rounding."""
    return ki.IMAML(
        0.5,
        ki.inner.GradientDescent(2000, 0.1, momentum=0.9, nesterov=True, tolerance=1e-12),
        ki.linear.ConjugateGradient(max_steps=300, tolerance=1e-13),
        **settings,
    )


def unrolled():
    return ki.MAML(ki.inner.GradientDescent(steps=4, learning_rate=0.2))


def guesses(problem):
    """Some labels for the queries, firm and soft ones."""
    tasks, queries = problem.data.query_y.shape
    z = np.random.default_rng(1).normal(scale=2.0, size=(tasks, queries, 3))
    return pseudo_labels(tf.constant(z), 1.0, balanced=False)


@pytest.mark.parametrize(
    ("make", "adapt", "transductive"),
    [
        pytest.param(solved, "head", True, marks=pytest.mark.slow),
        pytest.param(unrolled, None, False, marks=pytest.mark.slow),
    ],
)
def test_the_meta_gradient_equals_finite_differences_at_given_guesses(make, adapt, transductive):
    problem = problems.Images(activation="softplus")
    labels = guesses(problem)

    def objective():
        plain = problems.objective_of(problem, adapt, transductive)
        return WithPseudoLabels(plain, labels)

    algorithm = make()
    algorithm.prepare(objective().parameters)
    variables = problem.model.trainable_variables
    meta = tf.function(lambda: algorithm.meta_gradient(objective(), variables), autograph=False)()

    @tf.function(autograph=False)
    def loss():
        adapted = objective()
        return tf.reduce_mean(adapted.query_losses(algorithm.adapt(adapted).phi)[0])

    problems.check_by_differences(loss, variables, meta.gradients)


@pytest.mark.slow
def test_each_round_guesses_anew_and_solves_from_theta(run):
    problem = problems.Images()
    algorithm = ki.SelfTraining(unrolled(), rounds=2, temperature=0.5, balanced=True)
    algorithm.prepare(problems.objective_of(problem, "head").parameters)

    def adapted(*parts):
        tasks = type(problem.tensors)(*parts)
        return algorithm.adapt(problems.objective_of(problem, "head", tensors=tasks)).phi

    objective = problems.objective_of(problem, "head")
    labelled = objective
    for _ in range(2):
        logits = objective.query(algorithm.algorithm.adapt(labelled).phi).outputs
        labels = pseudo_labels(logits, 0.5, balanced=True)
        labelled = WithPseudoLabels(objective, labels)
    # The inner objective, written out: descent from theta on support and guessed query loss.
    phi = algorithm.inner_problem(objective).start()
    for _ in range(4):
        with tf.GradientTape() as tape:
            tape.watch(phi)
            loss = objective.support_losses(phi)
            queries = tf.nn.log_softmax(objective.query(phi).outputs)
            loss -= tf.reduce_mean(tf.reduce_sum(labels * queries, axis=2), axis=1)
        phi -= 0.2 * tape.gradient(loss, phi)
    np.testing.assert_allclose(run(adapted, *problem.tensors), phi, rtol=1e-9, atol=1e-12)


def two_clouds(tasks=40, shot=1, query=20, share=0.5, seed=0):
    """Tasks of two clouds of points a good way apart, with support points at their rims."""
    rng = np.random.default_rng(seed)
    first = round(2 * query * share)
    support_y = np.tile(np.repeat([0, 1], shot), (tasks, 1)).astype("int32")
    query_y = np.tile([0] * first + [1] * (2 * query - first), (tasks, 1)).astype("int32")
    axis = rng.normal(size=(tasks, 1, 8))
    axis *= 3 / np.linalg.norm(axis, axis=2, keepdims=True)

    def points(y, spread):
        noise = rng.normal(scale=spread, size=(*y.shape, 8))
        return ((2 * y[..., None] - 1) * axis + noise).astype("float32")

    return (points(support_y, 3.0), support_y), (points(query_y, 1.0), query_y)


def classifier(algorithm, **settings):
    inputs = keras.Input((8,))
    head = keras.layers.Dense(2, kernel_initializer="zeros", name="head")
    return learners.compiled(keras.Model(inputs, head(inputs)), algorithm, **settings)


def newton():
    return ki.IMAML(0.1, ki.inner.NewtonCG(steps=8))


def accuracy(learner, tasks):
    data = tf.data.Dataset.from_tensors(tasks)
    return ki.evaluate(learner, data, len(tasks[0][0]), verbose=0).accuracy


@pytest.mark.slow
def test_pseudo_labels_help_and_balancing_harms_unbalanced_tasks():
    balanced_tasks, unbalanced_tasks = two_clouds(), two_clouds(share=0.9)
    plain_accuracy = accuracy(classifier(newton()), balanced_tasks)
    learner = classifier(ki.SelfTraining(newton()))
    guessed_accuracy = accuracy(learner, balanced_tasks)
    guessed_accuracy_of_unbalanced = accuracy(learner, unbalanced_tasks)
    learner = classifier(ki.SelfTraining(newton(), balanced=True))
    balanced_accuracy = accuracy(learner, balanced_tasks)
    balanced_accuracy_of_unbalanced = accuracy(learner, unbalanced_tasks)
    assert plain_accuracy < 0.9
    assert guessed_accuracy > plain_accuracy + 0.02
    assert balanced_accuracy > guessed_accuracy
    assert balanced_accuracy_of_unbalanced < guessed_accuracy_of_unbalanced


@pytest.mark.slow
def test_a_self_training_learner_trains_evaluates_saves_and_exports(tmp_path):
    algorithm = ki.SelfTraining(learners.imaml(), rounds=1, temperature=0.7)
    learner = learners.compiled(algorithm=algorithm, adapt="head")
    (x, y), (query_x, query_y) = batch = learners.images()
    before = [v.numpy() for v in learner.trainable_variables]
    history = learner.fit(learners.dataset(batch), steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    after = learner.trainable_variables
    assert any(np.any(a != b) for a, b in zip(after, before, strict=True))
    assert learner.queries_interact
    evaluation = learner.evaluate(*batch, batch_size=4, verbose=0, return_dict=True)
    expected = learner.adapt_and_predict(x[0], y[0], query_x[0])
    assert np.isfinite(evaluation["loss"])
    keras.utils.set_random_seed(1)
    learner.save(tmp_path / "learner.keras")
    loaded_learner = keras.models.load_model(tmp_path / "learner.keras")
    assert loaded_learner.algorithm.get_config() == algorithm.get_config()
    np.testing.assert_allclose(
        loaded_learner.adapt_and_predict(x[0], y[0], query_x[0]), expected, rtol=1e-4, atol=1e-5
    )
    learner.export(str(tmp_path / "saved"), verbose=False)
    served_model = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(
        served_model.adapt_and_predict(x[0], y[0], query_x[0])["logits"],
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
    model = learner.adapt(x[0], y[0], unlabelled_x=query_x[0])
    np.testing.assert_allclose(model.predict(query_x[0], verbose=0), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_parts_and_eager_mode_give_the_same_step():
    losses = []
    batch = two_clouds(tasks=4, query=2)
    for settings in ({}, {"tasks_per_chunk": 2}, {"run_eagerly": True}):
        keras.utils.set_random_seed(0)
        algorithm = ki.SelfTraining(learners.imaml(), rounds=1)
        learner = classifier(algorithm, **settings)
        first = learner.train_on_batch(*batch, return_dict=True)["loss"]
        losses.append([first, learner.train_on_batch(*batch, return_dict=True)["loss"]])
    assert losses[0][0] != losses[0][1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4)


@pytest.mark.slow
def test_the_order_of_queries_makes_no_difference():
    learner = learners.compiled(algorithm=ki.SelfTraining(learners.imaml(), balanced=True))
    (x, y), (query_x, _) = learners.images()
    predictions = learner.adapt_and_predict(x[0], y[0], query_x[0]).numpy()
    reversed_predictions = learner.adapt_and_predict(x[0], y[0], query_x[0][::-1]).numpy()[::-1]
    np.testing.assert_allclose(predictions, reversed_predictions, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_weights_are_those_of_the_algorithm_itself(tmp_path):
    """A checkpoint of a learner without guesses is one of a learner with them."""
    strength = lambda: ki.ProximalStrength(0.7, learned=True)  # noqa: E731
    plain_learner = learners.compiled(algorithm=ki.IMAML(strength()))
    plain_learner.fit(learners.dataset(learners.images()), steps_per_epoch=2, verbose=0)
    ki.callbacks.Checkpoints(plain_learner, str(tmp_path)).save()
    guessing_learner = learners.compiled(algorithm=ki.SelfTraining(ki.IMAML(strength())))
    assert ki.callbacks.Checkpoints(guessing_learner, str(tmp_path)).restore() == 2
    for variable, expected in zip(guessing_learner.variables, plain_learner.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)
    assert (
        guessing_learner.algorithm.proximal_strength
        is guessing_learner.algorithm.algorithm.proximal_strength
    )


@pytest.mark.slow
def test_a_tied_head_keeps_its_guesses_for_other_ways():
    model = learners.small(tied_head=True)
    algorithm = ki.SelfTraining(learners.imaml(), rounds=2)
    two_way_learner = ki.with_classes(learners.compiled(model, algorithm, adapt="head"), 2)
    assert repr(two_way_learner.algorithm) == repr(algorithm)
    assert "rounds=2" in repr(algorithm)
    (x, y), (query_x, _) = learners.images(way=2)
    assert two_way_learner.adapt_and_predict(x[0], y[0], query_x[0]).shape == (4, 2)


@pytest.mark.slow
def test_mixed_precision():
    model = learners.small(dtype="mixed_bfloat16")
    learner = learners.compiled(
        model,
        ki.SelfTraining(learners.imaml(), rounds=1, balanced=True),
        adapt="head",
        transductive=True,
    )
    assert np.isfinite(learner.train_on_batch(*learners.images(), return_dict=True)["loss"])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ki.SelfTraining(ki.Reptile()), "IMAML or keras_imaml.MAML"),
        (lambda: ki.SelfTraining("imaml"), "IMAML or keras_imaml.MAML"),
        (lambda: ki.SelfTraining(ki.SelfTraining(ki.MAML())), "IMAML or keras_imaml.MAML"),
        (lambda: ki.SelfTraining(ki.MAML(), rounds=0), "rounds.*at least 1"),
        (lambda: ki.SelfTraining(ki.MAML(), temperature=0.0), "temperature.*above 0"),
        (lambda: learners.compiled(algorithm=ki.SelfTraining(ki.MAML()), loss="mse"), "loss"),
        (
            lambda: learners.compiled(
                algorithm=ki.SelfTraining(ki.MAML()), loss="sparse_categorical_crossentropy"
            ),
            "of the logits",
        ),
    ],
)
def test_what_means_nothing_is_refused(make, reason):
    with pytest.raises(ValueError, match=f"Invalid value for.*{reason}.*Received"):
        make()


def test_adapt_says_what_it_needs():
    (x, y), (query_x, _) = learners.images()
    with pytest.raises(ValueError, match="unlabelled_x.*adapt_and_predict"):
        learners.compiled(algorithm=ki.SelfTraining(ki.MAML())).adapt(x[0], y[0])
    with pytest.raises(ValueError, match="unlabelled_x.*Expected None.*SelfTraining.*Received"):
        learners.compiled().adapt(x[0], y[0], unlabelled_x=query_x[0])


@pytest.mark.slow
def test_classes_of_tokens_weigh_as_those_of_examples():
    """A step of MAML on the mean over all guesses, by hand."""
    rng = np.random.default_rng(0)
    network = keras.Sequential([keras.Input((6, 5)), keras.layers.Dense(3)])
    algorithm = ki.SelfTraining(ki.MAML(ki.inner.GradientDescent(1, 0.1)), rounds=1)
    learner = learners.compiled(network, algorithm)
    x, u = (rng.normal(size=(n, 6, 5)).astype("float32") for n in (4, 7))
    y = rng.integers(0, 3, (4, 6)).astype("int32")

    def descent_step(labels):
        with tf.GradientTape() as tape:
            loss = learners.cross_entropy()(y, network(x))
            if labels is not None:
                losses = tf.nn.softmax_cross_entropy_with_logits(labels, network(u))
                loss += tf.reduce_mean(losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        return [v - 0.1 * g for v, g in zip(network.trainable_variables, gradients, strict=True)]

    kernel, bias = descent_step(None)
    labels = tf.nn.softmax((u @ kernel + bias) / 0.5)
    expected = descent_step(labels)
    adapted = learner.adapt(x, y, unlabelled_x=u).layers[-1]
    for variable, expected_value in zip((adapted.kernel, adapted.bias), expected, strict=True):
        np.testing.assert_allclose(variable, expected_value, rtol=1e-5, atol=1e-6)
