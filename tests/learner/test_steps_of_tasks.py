"""Each task of a meta-batch may have its own number of inner steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient

RNG = np.random.default_rng(0)
X, QUERY_X = RNG.normal(size=(2, 3, 4, 3))
Y, QUERY_Y = RNG.normal(size=(2, 3, 4, 1))
COUNTS = (0, 5, 1)
DESCENT = ki.inner.GradientDescent
NESTEROV = DESCENT(4, 0.1, momentum=0.8, nesterov=True)

ALGORITHMS = {
    "imaml": lambda: ki.IMAML(0.5, DESCENT(4, 0.1)),
    "imaml auto": lambda: ki.IMAML(0.5, DESCENT(4)),
    "imaml tolerance": lambda: ki.IMAML(0.5, DESCENT(4, 0.1, tolerance=0.6)),
    "imaml adam": lambda: ki.IMAML(0.5, ki.inner.Adam(4, 0.1)),
    "imaml newton": lambda: ki.IMAML(0.5, ki.inner.NewtonCG(4)),
    "imaml lbfgs": lambda: ki.IMAML(0.5, ki.inner.LBFGS(4)),
    "maml": lambda: ki.MAML(DESCENT(4, 0.1)),
    "maml learned rate": lambda: ki.MAML(DESCENT(4, ki.LearningRate(0.1, per="weight"))),
    "maml auto recomputed": lambda: ki.MAML(DESCENT(4), recompute=True),
    "maml nesterov recomputed": lambda: ki.MAML(NESTEROV, recompute=True),
    "fomaml": lambda: ki.MAML(DESCENT(4, 0.1), first_order=True),
    "reptile": lambda: ki.Reptile(ki.inner.Adam(4, 0.1)),
    "released": lambda: ki.algorithms.ReleasedIMAML(0.5, DESCENT(4, 0.1)),
    "supervised": lambda: ki.algorithms.Supervised(DESCENT(4, 0.1)),
}


def learner_of(algorithm, tasks_per_chunk=None, **settings):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            keras.layers.Dense(2, "tanh", dtype="float64"),
            keras.layers.Dense(1, dtype="float64"),
        ]
    )
    learner = ki.MetaLearner(network, algorithm, tasks_per_chunk=tasks_per_chunk)
    loss = keras.losses.MeanSquaredError(dtype="float64")
    learner.compile(keras.optimizers.SGD(0.1), loss, **settings)
    return learner


def of_tasks(first, end):
    return (X[first:end], Y[first:end]), (QUERY_X[first:end], QUERY_Y[first:end])


def results(learner, data):
    """Everything that a step computes, in training and in evaluation."""

    objective = learner.objective(data, training=True)
    variables = learner.trainable_variables
    meta = meta_gradient(learner.algorithm, objective, variables, learner.tasks_per_chunk)
    objective_of_evaluation = learner.objective(data, training=False)
    solution = learner.algorithm.adapt(objective_of_evaluation)._asdict()
    per_task = {"losses": meta.query_losses, "valid": meta.valid, **meta.figures}
    per_task |= {name: value for name, value in solution.items() if name != "value"}
    pairs = zip(variables, meta.sums, strict=True)
    sums = [np.zeros(v.shape) if g is None else np.array(g) for v, g in pairs]
    return {"sums": sums, "per_task": {n: v.numpy() for n, v in per_task.items()}}


QUICK = ("imaml",)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ALGORITHMS]
)
def test_each_task_is_as_if_alone_with_its_number(name):
    learner = learner_of(ALGORITHMS[name]())
    steps = np.array(COUNTS)
    result = results(learner, (*of_tasks(0, 3), steps))
    task_results = [
        results(learner.with_algorithm(steps=count), of_tasks(task, task + 1))
        for task, count in enumerate(COUNTS)
    ]
    assert result["per_task"]["valid"].all()
    np.testing.assert_array_equal(result["per_task"]["steps"] <= steps, True)
    for key, values in result["per_task"].items():
        expected = np.concatenate([task_result["per_task"][key] for task_result in task_results])
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12, err_msg=key)
    for values, *parts in zip(
        result["sums"], *(task_result["sums"] for task_result in task_results), strict=True
    ):
        np.testing.assert_allclose(values, sum(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_third_part_of_an_element_has_the_numbers():
    learner = learner_of(ki.IMAML(0.5, DESCENT(4, 0.1)), tasks_per_chunk=1)
    steps = np.array([0, 2])
    tasks = tf.data.Dataset.from_tensor_slices((*of_tasks(0, 2), steps)).batch(2)
    history = learner.fit(tasks, verbose=0).history
    assert history["inner_steps"] == [1.0] and history["bad_tasks"] == [0.0]
    table = ki.evaluate(learner, tasks, num_tasks=2, per_task=True)
    assert table["loss"][0] == pytest.approx(table["loss_before"][0], rel=1e-12)
    assert table["loss"][1] < table["loss_before"][1]
    longer_learner = learner.with_algorithm(steps=2)
    longer_learner.run_eagerly = True
    logs = longer_learner.test_on_batch(*of_tasks(1, 2), return_dict=True)
    assert logs["loss"] == pytest.approx(table["loss"][1], rel=1e-6)


def test_a_number_below_zero_makes_a_bad_task():
    learner = learner_of(ki.MAML(DESCENT(4, 0.1)), run_eagerly=True)
    logs = learner.train_on_batch(*of_tasks(0, 2), np.array([-1, 2]), return_dict=True)
    assert logs["bad_tasks"] == 0.5


class NoSteps(ki.inner.Configurable):
    """A solver of a user's own, which does not look at `problem.steps`."""

    def minimize(self, problem, start=None):
        return DESCENT(1, 0.1).minimize(problem, start)


@pytest.mark.parametrize(
    ("algorithm", "steps", "message"),
    [
        (ki.IMAML, np.array([0.5, 1.0]), "integers of shape .tasks,.*weights of their own"),
        (ki.IMAML, np.array([[1, 2]]), r"integers of shape .tasks,.*shape \(1, 2\)"),
        (ki.IMAML, [1, 2], "integers of shape"),
        (ki.IMAML, np.array([1, 2, 3]), "`steps`. Expected as many tasks as in support_x, 2"),
        (lambda: ki.IMAML(inner=NoSteps()), np.array([1, 2]), "no `steps_per_task = True`"),
    ],
)
def test_other_numbers_are_refused_by_name(algorithm, steps, message):
    with pytest.raises(ValueError, match=message):
        learner_of(algorithm()).objective((*of_tasks(0, 2), steps), training=True)


def test_maml_under_xla_is_refused():
    learner = learner_of(ki.MAML(DESCENT(2, 0.1)), jit_compile=True)
    with pytest.raises(ValueError, match="`jit_compile`. Expected False.*recompute=True"):
        learner.train_on_batch(*of_tasks(0, 2), np.array([1, 2]))
