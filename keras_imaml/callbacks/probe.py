"""What can be measured on one meta-batch that stays the same for the whole of a run."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._utils.accuracy import accuracies, predicted_classes
from keras_imaml._utils.tracing import Traced
from keras_imaml._utils.vectors import dot, norm, select
from keras_imaml.algorithms import IMAML, Algorithm, MetaGradient
from keras_imaml.algorithms.algorithm import masked_mean
from keras_imaml.algorithms.query_gradient import query_gradient
from keras_imaml.curvature import CURVATURES
from keras_imaml.learner.input_checks import check_element
from keras_imaml.learner.meta_batch import meta_gradient, outcome
from keras_imaml.linear.solution import IterativeSolver
from keras_imaml.objectives.task_objective import TaskObjective

_CURVATURE = "curvature/along_query_gradient"
_RESIDUALS = "linear/residual_against_its_steps"


class Measurements(NamedTuple):
    """What a probe has measured.

    Attributes:
        before: Figures of the query sets at the meta-learned weights, by tag.
        after: Figures of the adapted weights and of the meta-gradient, by tag.
        predictions: `[tasks, queries]`, the predicted classes; None without classes.
        residuals: The mean relative residual of the linear solver after 0, 1, 2, ... steps; empty
            for a solver that takes none.
    """

    before: dict[str, float]
    after: dict[str, float]
    predictions: np.ndarray | None
    residuals: list[float]


class Probe:
    """Measures a learner on the first meta-batch of a data set; see `Dashboard`.

    Nothing of the learner changes: weights, optimizer, metrics and random seeds stay as they are.

    Args:
        tasks: Meta-batches, as for `learner.fit`. The first one is kept.
    """

    def __init__(self, tasks: tf.data.Dataset) -> None:
        if not isinstance(tasks, tf.data.Dataset):
            raise ValueError(
                "Invalid value for `tasks`. Expected a tf.data.Dataset of meta-batches, such as "
                f"keras_imaml.data.glyphs('validation').batch(8). Received: tasks={tasks!r}"
            )
        first = next(iter(tasks), None)
        if first is None:
            raise ValueError(
                "Invalid value for `tasks`. Expected at least one meta-batch. Received: an empty "
                f"data set, tasks={tasks!r}"
            )
        self.data = check_element(first)
        ranks = [x.shape.rank for x in tf.nest.flatten(self.data)]
        counts = {x.shape[0] for x in tf.nest.flatten(self.data) if x.shape.rank}
        if 0 in ranks or len(counts) != 1 or not counts.pop():
            raise ValueError(
                "Invalid value for `tasks`. Expected meta-batches, whose parts all have a leading "
                "task axis of the same size: is a `.batch(8)` missing? Received: shapes "
                f"{keras.tree.map_structure(lambda x: tuple(x.shape), self.data)}"
            )
        self._functions: dict[Any, Any] = {}
        self._learner: Any = None
        self._traced_for: Any = None

    def measure(self, learner: Any) -> Measurements:
        """Measure `learner` as it is now."""
        if learner is not self._learner or learner._traced_for is not self._traced_for:
            # Another one, or one that was compiled anew: with another loss, or frozen layers.
            self._learner, self._traced_for, self._functions = learner, learner._traced_for, {}
        before, first_order = self._call(_before), self._call(_first_order)
        is_traced = _meta_gradient in self._functions
        start = time.perf_counter()
        gradient = self._call(_meta_gradient)["gradient"].numpy()
        seconds = time.perf_counter() - start
        flat = first_order["gradient"].numpy()
        lengths = np.linalg.norm(gradient), np.linalg.norm(flat)
        figures = dict(first_order["figures"])
        residuals = figures.pop(_RESIDUALS).numpy().tolist() if _RESIDUALS in figures else []
        after = {
            **figures,
            "meta_gradient/norm": lengths[0],
            "meta_gradient/first_order_cosine": gradient @ flat / max(np.prod(lengths), 1e-30),
        }
        if is_traced:  # the first call spends its time on the graph
            after["time/step_ms"] = 1e3 * seconds
        predictions = first_order["predictions"]
        return Measurements(
            before={tag: float(value) for tag, value in before.items()},
            after={tag: float(value) for tag, value in after.items()},
            predictions=None if predictions is None else predictions.numpy(),
            residuals=residuals,
        )

    def _call(self, function: Any) -> Any:
        if function not in self._functions:
            learner = self._learner
            self._functions[function] = Traced(
                lambda data: function(learner, learner.objective(data, training=False))
            )
        return self._functions[function](self.data)


def _before(learner: Any, objective: TaskObjective) -> dict[str, tf.Tensor]:
    unadapted = outcome(learner.algorithm, objective, learner.tasks_per_chunk, adapt=False)
    return _of_queries(learner, objective, *unadapted)


def _first_order(learner: Any, objective: TaskObjective) -> dict[str, Any]:
    """The adapted query sets, and the gradient of their losses for the adapted weights."""
    adapted = learner.parameters.adapted
    meta = meta_gradient(
        _FirstOrder(learner.algorithm),  # type: ignore[arg-type]
        objective,
        adapted,
        learner.tasks_per_chunk,
    )
    figures = _of_queries(learner, objective, meta.query_losses, meta.query_outputs, meta.valid)
    return {
        "figures": {**figures, **meta.diagnostics},
        "gradient": _flat(meta.gradients, adapted),
        "predictions": predicted_classes(learner.loss, objective.tasks.query_y, meta.query_outputs),
    }


def _meta_gradient(learner: Any, objective: TaskObjective) -> dict[str, Any]:
    variables = learner.trainable_variables
    meta = meta_gradient(learner.algorithm, objective, variables, learner.tasks_per_chunk)
    gradients = {id(v): g for v, g in zip(variables, meta.gradients, strict=True)}
    adapted = learner.parameters.adapted
    return {"gradient": _flat([gradients.get(id(v)) for v in adapted], adapted)}


def _figures_of_system(algorithm: Algorithm) -> list[str]:
    """Names of what `_linear_system` gives."""
    if not isinstance(algorithm, IMAML):
        return []
    return [_CURVATURE, *([_RESIDUALS] if isinstance(algorithm.linear, IterativeSolver) else [])]


def _linear_system(
    algorithm: IMAML, objective: TaskObjective, phi: tf.Tensor, rhs: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The systems of the implicit rule: their curvature `[tasks]`, and how they are solved."""
    linear, strength = algorithm.linear, algorithm.strength()
    product = (
        CURVATURES[algorithm.curvature]()
        .linearize(lambda: algorithm.inner_problem(objective), tf.stop_gradient(phi), [])
        .product
    )
    bent = product(rhs) - strength * rhs
    figures = {_CURVATURE: tf.math.divide_no_nan(dot(rhs, bent), dot(rhs, rhs))}
    if isinstance(linear, IterativeSolver):
        residuals = linear.residuals(product, rhs, lambda r: r / strength, 2 * linear.max_steps)
        figures[_RESIDUALS] = tf.pad(residuals, [[0, 0], [1, 0]], constant_values=1)
    return figures


class _FirstOrder:
    """In the place of an algorithm: its adaptation, and the query gradient as meta-gradient."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.groups = algorithm.parameters.groups
        self.moved = [f"moved/{group.name}" for group in self.groups]
        self.diagnostics = (*self.moved, *_figures_of_system(algorithm))

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        parameters = self.algorithm.parameters
        adapted = self.algorithm.adapt(objective)
        query = query_gradient(objective, adapted.phi, objective.valid & adapted.valid, [])
        per_task = select(query.valid, query.for_phi, tf.zeros_like(query.for_phi))
        theta, sizes = parameters.theta(), [group.size for group in self.groups]
        moved = zip(
            tf.split(adapted.phi - theta, sizes, axis=1), tf.split(theta, sizes), strict=True
        )
        shares = [
            tf.math.divide_no_nan(norm(distance), tf.norm(start)) for distance, start in moved
        ]
        figures = dict(zip(self.moved, shares, strict=True))
        if isinstance(self.algorithm, IMAML):
            figures |= _linear_system(self.algorithm, objective, adapted.phi, per_task)
        return MetaGradient(
            sums=parameters.for_variables(tf.reduce_sum(per_task, axis=0), variables),
            per_task=per_task,
            query_losses=query.losses,
            query_outputs=query.outputs,
            valid=query.valid,
            figures=figures,
        )


def _of_queries(
    learner: Any, objective: TaskObjective, losses: tf.Tensor, outputs: Any, valid: tf.Tensor
) -> dict[str, tf.Tensor]:
    figures = {"adaptation/loss": masked_mean(losses, valid)}
    tasks = objective.tasks
    shares = accuracies(learner.loss, tasks.query_y, outputs, tasks.present(query=True))
    if shares is not None:
        counts = valid & ~tf.math.is_nan(shares)  # of a task whose labels all are ignored
        figures["adaptation/accuracy"] = masked_mean(shares, counts)
    return figures


def _flat(gradients: Sequence[Any], variables: Sequence[Any]) -> tf.Tensor:
    parts = [
        tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
        for g, v in zip(gradients, variables, strict=True)
    ]
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)
