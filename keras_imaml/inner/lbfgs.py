"""L-BFGS on the inner objective, batched over tasks."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.loops import while_active
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml._utils.vectors import dot, finite, norm, select
from keras_imaml.inner.descent import at_start
from keras_imaml.inner.line_search import backtrack
from keras_imaml.inner.solution import InnerSolution, count_with_values
from keras_imaml.inner.step_counts import StepCounts
from keras_imaml.objectives.inner_problem import InnerProblem


class _State(NamedTuple):
    step: tf.Tensor
    phi: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    moves: tf.Tensor  # [memory, tasks, size], the newest last
    changes: tf.Tensor  # [memory, tasks, size], changes of the gradient over each move
    active: tf.Tensor
    steps: tf.Tensor
    gradients: tf.Tensor
    evaluations: tf.Tensor  # values of G spent


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class LBFGS(Configurable):
    """Quasi-Newton steps from the last few moves, with an Armijo line search.

    Args:
        steps: Maximum number of iterations. `0` does not adapt. Defaults to `10`.
        memory: Number of past moves to keep. Defaults to `5`.
        first_step: Length of the first step as a multiple of the gradient. Defaults to `0.1`.
        backtracks: Maximum number of halvings of a step. Defaults to `8`.
        tolerance: A task stops when `||grad G(phi)||` has fallen below this share of its value at
            theta. Defaults to `0.0`.

    Example:

    ```python
    ki.IMAML(inner=ki.inner.LBFGS(steps=8))
    ```

    References:
        Liu and Nocedal, 1989; Nocedal and Wright, 2006, algorithm 7.4.
    """

    steps_per_task: ClassVar[bool] = True
    """Whether each task may have its own number of steps, see `InnerProblem.steps`."""

    steps: int = 10
    memory: int = 5
    first_step: float = 0.1
    backtracks: int = 8
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=0)
        check_integer("memory", self.memory, minimum=1)
        check_number("first_step", self.first_step, minimum=0.0, exclusive=True)
        check_integer("backtracks", self.backtracks, minimum=0)
        check_number("tolerance", self.tolerance, minimum=0.0)

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """See `InnerSolver.minimize`."""
        start = problem.start() if start is None else start
        counts = StepCounts.of(problem, self.steps)
        if counts.all_zero:
            return at_start(problem, start)
        support, gradient = problem.support_and_gradient(start)
        initial_value = problem.with_proximal_term(support, start)
        initial_norm = norm(gradient)

        def step_of_all(s: _State) -> _State:
            direction = -self._inverse_product(s)
            downhill = dot(s.gradient, direction) < 0
            direction = select(downhill, direction, -self.first_step * s.gradient)
            slope = dot(s.gradient, direction)
            step = backtrack(
                problem, s.phi, s.value, direction, slope, s.active, halvings=self.backtracks
            )
            next_gradient = problem.gradient(step.phi)
            move, change = step.phi - s.phi, next_gradient - s.gradient
            # Only moves along which the gradient grows keep the estimate positive definite.
            is_useful = s.active & (dot(move, change) > 1e-10 * norm(move) * norm(change))

            def append(memory: tf.Tensor, entry: tf.Tensor) -> tf.Tensor:
                entry = select(is_useful, entry, tf.zeros_like(entry))
                return tf.concat([memory[1:], entry[None]], axis=0)

            next_norm = norm(next_gradient)
            active = s.active & step.accepted & (next_norm > self.tolerance * initial_norm)
            return _State(
                step=s.step + 1,
                phi=step.phi,
                value=step.value,
                gradient=next_gradient,
                moves=append(s.moves, move),
                changes=append(s.changes, change),
                active=counts.within(active, s.step + 1),
                steps=s.steps + tf.cast(s.active, tf.int32),
                gradients=s.gradients + tf.cast(s.active, tf.int32),
                evaluations=s.evaluations + step.evaluations,
            )

        tasks = tf.shape(start)[:1]
        active = tf.math.is_finite(initial_norm) & (initial_norm > 0)
        empty_memory = tf.zeros(tf.concat([[self.memory], tf.shape(start)], 0), start.dtype)
        end = while_active(
            step_of_all,
            _State(
                step=tf.constant(0),
                phi=start,
                value=initial_value,
                gradient=gradient,
                moves=empty_memory,
                changes=empty_memory,
                active=counts.within(active, 0),
                steps=tf.zeros(tasks, tf.int32),
                gradients=tf.ones(tasks, tf.int32),
                evaluations=tf.ones(tasks, tf.int32),
            ),
            counts.most,
        )
        gradients = count_with_values(end.gradients, end.evaluations)
        final_norm = norm(end.gradient)
        return InnerSolution(
            end.phi,
            end.steps,
            counts.zero_without_steps(gradients),
            initial_norm,
            final_norm,
            finite(end.phi),
            initial_value=initial_value,
            value=end.value,
        )

    def _inverse_product(self, s: _State) -> tf.Tensor:
        """The two-loop recursion; empty entries of the memory have no effect."""
        pairs = list(zip(tf.unstack(s.moves), tf.unstack(s.changes), strict=True))
        weights = [tf.math.divide_no_nan(tf.ones([], a.dtype), dot(a, b)) for a, b in pairs]
        q, shares = s.gradient, []
        for (move, change), weight in zip(reversed(pairs), reversed(weights), strict=True):
            share = weight * dot(move, q)
            q -= share[:, None] * change
            shares.append(share)
        newest = weights[-1]
        scale = tf.math.divide_no_nan(tf.ones_like(newest), newest * dot(*[pairs[-1][1]] * 2))
        is_empty = tf.equal(newest, 0)
        q *= tf.where(is_empty, tf.constant(self.first_step, q.dtype), scale)[:, None]
        for (move, change), weight, share in zip(pairs, weights, reversed(shares), strict=True):
            q += (share - weight * dot(change, q))[:, None] * move
        return q
