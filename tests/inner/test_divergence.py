"""Inner loops that end higher than they began, with finite numbers, count as diverged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.inner.divergence import MINIMIZER_RISE, PATH_RISE, checked, highest_value
from tests import problems
from tests.inner.inner_problems import inner_problem


@pytest.mark.parametrize(
    ("rise", "initial_value", "limit"),
    [
        (MINIMIZER_RISE, 2.0, 4.01),
        (MINIMIZER_RISE, 0.0, 0.01),
        (MINIMIZER_RISE, -5.0, 0.01),
        (PATH_RISE, 2.0, 21.0),
        (PATH_RISE, -5.0, 41.0),
    ],
)
def test_limits(rise, initial_value, limit):
    assert float(highest_value(tf.constant(initial_value), rise)) == pytest.approx(limit)


SOLVERS = {
    "descent": ki.inner.GradientDescent(4, 0.05),
    "one step": ki.inner.GradientDescent(1, 0.05),
    "with tolerance": ki.inner.GradientDescent(4, 0.05, tolerance=0.5),
    "nesterov": ki.inner.GradientDescent(4, 0.05, 0.5, nesterov=True),
    "adam": ki.inner.Adam(4, 0.05),
    "newton": ki.inner.NewtonCG(2),
    "lbfgs": ki.inner.LBFGS(4),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_report_where_they_began_and_where_they_were_last(name):
    inner = inner_problem(problems.LinearRegression())
    start, solution = inner.start(), SOLVERS[name].minimize(inner)
    np.testing.assert_allclose(solution.initial_value, inner.value(start), rtol=1e-12)
    if name in ("newton", "lbfgs"):
        np.testing.assert_allclose(solution.value, inner.value(solution.phi), rtol=1e-12)
    elif name == "one step":
        assert solution.value is None
    elif name == "descent":
        before = ki.inner.GradientDescent(3, 0.05).minimize(inner).phi
        np.testing.assert_allclose(solution.value, inner.value(before), rtol=1e-12)
    checked_solution = checked(inner, solution)
    assert checked_solution.valid.numpy().all()
    assert (checked_solution.value < checked_solution.initial_value).numpy().all()


def descent(steps, rate, *momentum, **settings):
    """With a step size that is not compared with lambda when the algorithm is made."""
    rate = ki.LearningRate(rate, "model", learned=False)
    return ki.inner.GradientDescent(steps, rate, *momentum, **settings)


EXPLODING = {  # the support loss ends between 1e8 and 1e30
    "imaml": lambda: ki.IMAML(1.0, descent(4, 1e2)),
    "imaml, one step": lambda: ki.IMAML(1.0, descent(1, 1e6)),
    "imaml, hessian": lambda: ki.IMAML(1.0, descent(2, 1e4), curvature="hessian"),
    "imaml, adam": lambda: ki.IMAML(1.0, ki.inner.Adam(3, 1e6)),
    "imaml, nesterov": lambda: ki.IMAML(1.0, descent(4, 1e2, 0.9, nesterov=True)),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(4, 1e2)),
    "maml, one step": lambda: ki.MAML(ki.inner.GradientDescent(1, 1e6)),
    "maml, recomputed": lambda: ki.MAML(ki.inner.GradientDescent(4, 1e2), recompute=True),
    "maml, recomputed, one step": lambda: ki.MAML(ki.inner.GradientDescent(1, 1e6), recompute=True),
    "fomaml": lambda: ki.MAML(ki.inner.GradientDescent(4, 1e2), first_order=True),
    "reptile": lambda: ki.Reptile(ki.inner.GradientDescent(4, 1e2)),
    "reptile, adam": lambda: ki.Reptile(ki.inner.Adam(3, 1e6)),
    "released": lambda: ki.algorithms.ReleasedIMAML(1e-3, ki.inner.GradientDescent(4, 1e2)),
}


QUICK = ("imaml", "imaml, adam", "maml", "fomaml", "reptile", "released")


LAST_STEP = {  # of two steps, the second one diverges
    "maml": lambda inner: ki.MAML(inner),
    "maml, recomputed": lambda inner: ki.MAML(inner, recompute=True),
    "fomaml": lambda inner: ki.MAML(inner, first_order=True),
    "reptile": lambda inner: ki.Reptile(inner),
    "imaml": lambda inner: ki.IMAML(1.0, inner),
}


class Leap(ki.inner.GradientDescent):
    """A last step that is a million times longer."""

    def rule(self, problem):
        rule, last = super().rule(problem), self.steps - 1

        def update(step, gradient):
            (change,) = rule.update(step, gradient)
            return (tf.where(tf.equal(step, last), 1e6, 1.0) * change,)

        return rule._replace(update=update)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LAST_STEP]
)
def test_a_last_step_that_explodes_is_seen(name):
    learner, data = regression(LAST_STEP[name](Leap(3, 0.01))), batch()
    before = learner.get_weights()
    assert float(learner.train_step(data)["bad_tasks"]) == 1
    for a, b in zip(before, learner.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(learner.test_step(data)["bad_tasks"]) == 1


def regression(algorithm):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    learner = ki.MetaLearner(network, algorithm)
    learner.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    return learner


def batch(scale=1.0):
    """Four tasks; the inputs of the second are larger by `scale`, and so is its curvature."""
    rng = np.random.default_rng(0)
    x, q = (rng.normal(size=(4, 5, 3)).astype("float32") for _ in range(2))
    x[1] *= scale
    y, z = (rng.normal(size=(4, 5, 2)).astype("float32") for _ in range(2))
    return (x, y), (q, z)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXPLODING]
)
def test_finite_explosions_are_bad_tasks(name):
    learner, data = regression(EXPLODING[name]()), batch()
    before = learner.get_weights()
    logs = {name: float(value) for name, value in learner.train_step(data).items()}
    assert logs["bad_tasks"] == 1
    for a, b in zip(before, learner.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(learner.test_step(data)["bad_tasks"]) == 1


def test_other_tasks_learn_as_if_without_a_diverged_task():
    settings = {"inner": ki.inner.GradientDescent(3, 0.1)}
    learner, reference_learner = (regression(ki.IMAML(1.0, **settings)) for _ in range(2))
    data = batch(scale=30.0)
    assert float(learner.train_step(data)["bad_tasks"]) == 0.25
    reference_learner.train_step(
        tf.nest.map_structure(lambda part: np.delete(part, 1, axis=0), data)
    )
    for a, b in zip(learner.get_weights(), reference_learner.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.slow
def test_weights_that_all_tasks_share_learn_nothing_of_a_last_step_that_diverges():
    """Their query gradient does not go through the linear system that leaves tasks out."""

    def new_learner():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2, name="b")]
        algorithm = ki.IMAML(1.0, ki.inner.GradientDescent(1, 1.0))
        learner = ki.MetaLearner(keras.Sequential(layers), algorithm, adapt="b")
        learner.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        return learner

    (x, y), query = batch()
    x[1] = 3.0  # one input, with the largest features there are: a curvature above the others
    assert float(new_learner().train_step(((x, y), query))["bad_tasks"]) == 0.25
    full_learner, reference_learner = new_learner(), new_learner()
    full_learner.train_step(((x, y), query))
    reference_learner.train_step(
        tf.nest.map_structure(lambda part: np.delete(part, 1, 0), ((x, y), query))
    )
    for a, b in zip(full_learner.get_weights(), reference_learner.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["imaml", "maml", "reptile"])
def test_solved_tasks_are_sound(algorithm):
    """Adaptation from a minimum changes nothing but rounding."""
    learner = regression(
        {
            "imaml": ki.IMAML(1.0, ki.inner.Adam(5, 1e-3)),
            "maml": ki.MAML(ki.inner.GradientDescent(1, 0.1)),
            "reptile": ki.Reptile(ki.inner.Adam(5, 1e-2)),
        }[algorithm]
    )
    (x, _), (q, _) = batch()
    data = tuple(
        (part, learner.model(part.reshape(-1, 3)).numpy().reshape(4, 5, 2)) for part in (x, q)
    )
    assert float(learner.train_step(data)["bad_tasks"]) == 0


def test_adapt_refuses_a_task_that_diverges():
    learner = regression(ki.IMAML(1.0, descent(4, 1e2)))
    (x, y), (q, _) = batch()
    with pytest.raises(ValueError, match="diverged.*lower the inner learning rate"):
        learner.adapt(x[0], y[0])
    assert np.isnan(learner.adapt_and_predict(x[0], y[0], q[0])).all()


def test_a_custom_solver_needs_no_values():
    class Jump(ki.inner.GradientDescent):
        def minimize(self, problem, start=None):
            solution = super().minimize(problem, start)
            return solution._replace(
                phi=solution.phi + tf.constant([[0.0], [1e9], [0.0], [0.0]]),
                initial_value=None,
                value=None,
            )

    learner = regression(ki.Reptile(Jump(2, 0.01)))
    assert float(learner.train_step(batch())["bad_tasks"]) == 0.25
