"""Numbers of steps: one for all tasks, or one for each."""

import types

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.inner import LBFGS, Adam, GradientDescent, NewtonCG
from keras_imaml.inner.step_counts import StepCounts
from tests import problems
from tests.inner.inner_problems import inner_problem

OF_TASKS = tf.constant([0, 1, 3])


def counts_of(steps):
    return StepCounts.of(types.SimpleNamespace(steps=steps), 5)


def test_a_problem_without_numbers_takes_that_of_the_solver():
    assert counts_of(None) == StepCounts(5, None)


@pytest.mark.parametrize(("steps", "most"), [([0, 1, 3], 3), ([2, 2], 2), ([0, 0], 1)])
def test_the_largest_number_bounds_the_loop_which_sees_theta_once(steps, most):
    counts = counts_of(tf.constant(steps))
    assert int(counts.most) == most
    assert counts.of_tasks.numpy().tolist() == steps


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (StepCounts(0), True),
        (StepCounts(1), False),
        (StepCounts(tf.constant(0)), False),
        (StepCounts(0, OF_TASKS), False),
    ],
)
def test_only_a_fixed_number_is_known_to_be_zero(counts, expected):
    assert counts.all_zero is expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (StepCounts(3), [False, False, True, False]),
        (StepCounts(3, OF_TASKS), [True, False, True, False]),
    ],
)
def test_the_last_step_of_some_task(counts, expected):
    assert [bool(counts.is_last_of_some(tf.constant(step))) for step in range(4)] == expected


def test_a_task_takes_as_many_steps_as_it_asks_for():
    active = tf.constant([True, True, True])
    steps_taken = [StepCounts(3, OF_TASKS).within(active, step).numpy() for step in range(4)]
    np.testing.assert_array_equal(np.sum(steps_taken, axis=0), [0, 1, 3])
    assert StepCounts(3).within(active, 7) is active
    still_active = StepCounts(3, OF_TASKS).within(tf.constant([True, False, True]), 0)
    assert still_active.numpy().tolist() == [False, False, True]


def test_a_task_without_a_step_costs_nothing():
    costs = tf.constant([4, 5, 6])
    assert StepCounts(3, OF_TASKS).zero_without_steps(costs).numpy().tolist() == [0, 5, 6]
    assert StepCounts(3).zero_without_steps(costs) is costs


SOLVERS = {
    "gradient descent": lambda steps: GradientDescent(steps, 0.3),
    "auto": lambda steps: GradientDescent(steps),
    "nesterov": lambda steps: GradientDescent(steps, 0.2, 0.5, nesterov=True),
    "with tolerance": lambda steps: GradientDescent(steps, 0.3, tolerance=1e-9),
    "adam": lambda steps: Adam(steps, 0.1),
    "lbfgs": lambda steps: LBFGS(steps),
    "newton_cg": lambda steps: NewtonCG(steps, 1, damping=0.1),
    "newton_cg, warm": lambda steps: NewtonCG(steps, 2, damping=0.1, warm_start=True),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_each_task_is_that_of_a_solver_of_its_number_of_steps(solver):
    problem = problems.LinearRegression()
    count = problem.tensors.count
    numbers = [0, 2, 4][:count]
    result = SOLVERS[solver](7).minimize(
        inner_problem(problem, problem.tensors._replace(steps=tf.constant(numbers)))
    )
    for task, steps in enumerate(numbers):
        expected_result = SOLVERS[solver](steps).minimize(inner_problem(problem))
        for name, field in result._asdict().items():
            expected = getattr(expected_result, name)
            if field is not None and expected is not None:
                assert field.shape == expected.shape, name
                np.testing.assert_allclose(
                    field[task], expected[task], rtol=1e-12, err_msg=f"{name} of {steps} steps"
                )


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_values_are_those_of_the_first_and_of_the_last_evaluated_point(steps):
    inner = inner_problem(problems.LinearRegression())
    solution = GradientDescent(steps, 0.3).minimize(inner)
    np.testing.assert_allclose(solution.initial_value, inner.value(inner.start()), rtol=1e-12)
    if steps == 1:  # which evaluates theta alone
        assert solution.value is None
    else:
        before = GradientDescent(steps - 1, 0.3).minimize(inner).phi
        np.testing.assert_allclose(solution.value, inner.value(before), rtol=1e-12)
