"""MAML against finite differences, and the three ways to take its path."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient
from tests import problems


def descent(steps=3, learning_rate=0.05, **settings):
    return ki.inner.GradientDescent(steps, learning_rate, **settings)


def prepared(algorithm, problem, **settings):
    """A graph that gives the meta-gradient, and the variables it is for."""
    objective = problems.objective_of(problem, **settings)
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
    step = tf.function(lambda: algorithm.meta_gradient(objective, variables), autograph=False)
    return step, variables


@pytest.mark.parametrize(
    ("transductive", "recompute"),
    [
        (True, False),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_equals_finite_differences(transductive, recompute):
    problem = problems.Images(activation="softplus")
    rate = ki.LearningRate(0.05, per="layer")
    momentum = {"momentum": 0.5, "nesterov": True} if recompute else {}
    algorithm = ki.MAML(descent(3 if recompute else 2, rate, **momentum), recompute=recompute)
    step, variables = prepared(
        algorithm, problem, transductive=transductive, adapt=["conv_2", "head", "gamma"]
    )
    meta = step()
    rng = np.random.default_rng(0)
    for variable, gradient in zip(variables, meta.gradients, strict=True):
        direction = rng.normal(size=variable.shape)
        start, values = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-6 * direction)
            values.append(float(tf.reduce_mean(step().query_losses)))
        variable.assign(start)
        difference = (values[0] - values[1]) / 2e-6
        assert float(np.sum(gradient * direction)) == pytest.approx(difference, rel=1e-5, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "momentum"), [("graph", 0.6), ("eager", 0.0)], indirect=["run"])
def test_recomputation_gives_the_same_gradient(run, momentum):
    problem = problems.LinearRegression()

    def meta_gradient(recompute):
        inner = descent(6, ki.LearningRate(0.1, per="weight"), momentum=momentum)
        algorithm = ki.MAML(inner, proximal_strength=0.3, recompute=recompute)
        objective = problems.objective_of(problem)
        algorithm.prepare(objective.parameters)
        variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
        return run(lambda: algorithm.meta_gradient(objective, variables))

    stored_result, recomputed_result = meta_gradient(False), meta_gradient(True)
    for a, b in zip(stored_result.gradients, recomputed_result.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(stored_result.per_task, recomputed_result.per_task, rtol=1e-12)
    residuals = [float(r.diagnostics["inner_residual"]) for r in (stored_result, recomputed_result)]
    assert residuals[0] == pytest.approx(residuals[1])


@pytest.mark.slow
def test_recomputation_keeps_only_where_the_steps_went():
    def kept(recompute):
        """How many tensors the graph stacks up for the way back."""
        problem = problems.Images(dtype="float32")
        step, _ = prepared(ki.MAML(descent(2), recompute=recompute), problem)
        definition = step.get_concrete_function().graph.as_graph_def()
        ops = [op for function in definition.library.function for op in function.node_def]
        return sum(op.op == "TensorListPushBack" for op in ops)

    assert kept(True) == 0  # phi is written to places that are known in advance
    assert kept(False) > 20


def test_first_order_is_the_query_gradient_at_the_adapted_weights():
    problem = problems.LinearRegression()
    algorithm = ki.MAML(descent(), first_order=True)
    step, _ = prepared(algorithm, problem)
    phi = algorithm.adapt(problems.objective_of(problem)).phi.numpy()
    np.testing.assert_allclose(step().per_task, problem.query_gradient(phi), rtol=1e-9)
    assert not np.allclose(phi, problem.theta)


@pytest.mark.slow
def test_equals_the_implicit_gradient_at_convergence():
    problem = problems.LinearRegression()
    inner = descent(600, 0.1)
    implicit, _ = prepared(ki.IMAML(0.7, inner, ki.linear.ConjugateGradient(50)), problem)
    unrolled, _ = prepared(ki.MAML(inner, proximal_strength=0.7), problem)
    np.testing.assert_allclose(unrolled().gradients[0], implicit().gradients[0], rtol=1e-6)


@pytest.mark.slow
def test_learned_rates_train_and_stay_positive():
    problem = problems.LinearRegression()
    algorithm = ki.MAML(descent(2, ki.LearningRate(0.01, per="weight")))
    step, variables = prepared(algorithm, problem)
    (logarithm,) = algorithm.trainable_variables
    before = float(tf.reduce_mean(step().query_losses))
    for _ in range(20):
        logarithm.assign_sub(0.5 * step().gradients[-1])
    assert float(tf.reduce_mean(step().query_losses)) < before
    rates = algorithm.learning_rate.value().numpy()
    assert np.all(rates > 0)
    assert np.any(np.abs(rates - 0.01) > 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "settings", "adapt"),
    [
        ("graph", {}, ["dense_1", "head"]),
        ("graph", {"recompute": True}, "head"),
        ("eager", {"first_order": True}, ["dense_1", "head"]),
        ("graph", {"rate": ki.LearningRate}, None),
    ],
    indirect=["run"],
)
def test_a_task_that_overflows_leaves_what_all_tasks_share_untouched(run, settings, adapt):
    """The derivative for shared weights, features or a step size is one sum over all tasks."""
    settings = dict(settings)
    rate = settings.pop("rate", float)(0.1)
    layers = [keras.layers.Dense(5, "tanh", name=f"dense_{i}", dtype="float64") for i in (0, 1)]
    head = keras.layers.Dense(1, dtype="float64", name="head")
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *layers, head])
    algorithm = ki.MAML(ki.inner.GradientDescent(2, rate), **settings)
    learner = ki.MetaLearner(model, algorithm, adapt=adapt)
    learner.compile(loss=keras.losses.MeanSquaredError(dtype="float64"))
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=(4, 5, *shape))  # noqa: E731
    support, query = (draw(3), draw(1)), (draw(3), draw(1))
    broken_support = (support[0], support[1].copy())
    broken_support[1][2] = 1e200
    variables = learner.trainable_variables

    def step(*parts):
        (x, y), (query_x, query_y) = parts
        objective = learner.objective(((x, y), (query_x, query_y)), training=True)
        result = meta_gradient(algorithm, objective, variables, None)
        pairs = zip(result.gradients, variables, strict=True)
        return [0 * v if g is None else g for g, v in pairs], result.valid

    good_tasks = np.array([0, 1, 3])
    tensors = lambda *parts: tf.nest.map_structure(tf.constant, parts)  # noqa: E731
    gradients, valid = run(step, *tensors(broken_support, query))
    assert valid.numpy().tolist() == [True, True, False, True]
    expected_gradients, _ = run(
        step, *tensors(*tf.nest.map_structure(lambda a: a[good_tasks], (support, query)))
    )
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_adam_equals_finite_differences_where_gradients_are_zero_too(recompute):
    problem = problems.LinearRegression(size=3)
    mask = np.array([1.0, 1.0, 0.0])  # the last weight moves nothing, and its gradient is zero
    tensors = problem.tensors._replace(support_x=problem.tensors.support_x * mask)
    objective = problems.objective_of(problem, tensors=tensors)
    inner = ki.inner.Adam(3, ki.LearningRate(0.05, per="weight"))
    algorithm = ki.MAML(inner, recompute=recompute)
    algorithm.prepare(objective.parameters)
    variables = [*problem.model.trainable_variables, *algorithm.trainable_variables]
    step = tf.function(lambda: algorithm.meta_gradient(objective, variables), autograph=False)
    gradients = step().gradients
    problems.check_by_differences(lambda: tf.reduce_mean(step().query_losses), variables, gradients)
    assert np.abs(gradients[1][:2]).min() > 1e-6 and gradients[1][2] == 0


def test_a_solver_without_steps_to_differentiate_is_refused():
    with pytest.raises(ValueError, match="`inner`.*Adam.*keras_imaml.IMAML"):
        ki.MAML(ki.inner.LBFGS())
