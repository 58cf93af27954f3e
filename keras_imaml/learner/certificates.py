"""How exactly the inner problem and the linear system of each task were solved."""

import tensorflow as tf

from keras_imaml._utils.vectors import norm
from keras_imaml.algorithms import Algorithm
from keras_imaml.learner.meta_batch import meta_gradient
from keras_imaml.objectives.after_trunk import after_trunk
from keras_imaml.objectives.task_objective import TaskObjective

INNER = "inner_residual"


def certificates(
    algorithm: Algorithm, objective: TaskObjective, tasks_per_chunk: int | None
) -> dict[str, tf.Tensor]:
    """Figures of each task by name, each `[tasks]`.

    `inner_residual` is `||grad G(phi)|| / ||grad G(theta)||`. The others are what the algorithm
    reports of its meta-gradient, such as `linear_residual`. An algorithm that trains on both sets
    together has none.

    Args:
        algorithm: How tasks adapt.
        objective: The tasks.
        tasks_per_chunk: As for `MetaLearner`.
    """
    if algorithm.joins_examples:
        return {INNER: _inner_residuals(algorithm, objective, tasks_per_chunk)}
    meta = meta_gradient(algorithm, objective, algorithm.parameters.adapted, tasks_per_chunk)
    if algorithm.evaluates_end or algorithm.adapts_to_queries:
        return meta.figures
    # What the algorithm reports is of one step before the last.
    return {**meta.figures, INNER: _inner_residuals(algorithm, objective, tasks_per_chunk)}


def _inner_residuals(
    algorithm: Algorithm, objective: TaskObjective, tasks_per_chunk: int | None
) -> tf.Tensor:
    def of_part(part: TaskObjective) -> tuple[tf.Tensor, list[tf.Tensor]]:
        part = after_trunk(part)
        problem = algorithm.inner_problem(part)
        solution = algorithm.inner.minimize(problem)
        end = norm(problem.gradient(solution.phi))
        return tf.math.divide_no_nan(end, solution.initial_gradient_norm), []

    objective = objective.planned(tasks_per_chunk)
    residuals, _ = objective.plan.map_reduce(of_part, objective, (), objective.dtype)
    return residuals
