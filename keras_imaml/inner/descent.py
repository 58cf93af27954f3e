"""The loop of all first-order inner solvers. Tasks run in step, and each stops by itself."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from keras_imaml._utils.loops import while_active
from keras_imaml._utils.vectors import finite, norm, select
from keras_imaml.inner.solution import InnerSolution, InnerSolver
from keras_imaml.inner.step_counts import StepCounts
from keras_imaml.objectives.inner_problem import InnerProblem


class Rule(NamedTuple):
    """A first-order method: how a step follows from the gradient and a state.

    Attributes:
        update: `(step, gradient, *state) -> (change, *state)`; phi moves by the change.
        begin: The state before the first step.
        look: `(phi, *state) -> phi`, the point at which the gradient is taken.
        clip: What becomes of the gradient before `update` takes it.
    """

    update: Callable[..., tuple]
    begin: tuple[tf.Tensor, ...] = ()
    look: Callable[..., tf.Tensor] = lambda phi, *state: phi
    clip: Callable[[tf.Tensor], tf.Tensor] = lambda gradient: gradient

    def step(
        self, problem: InnerProblem, number: tf.Tensor, phi: tf.Tensor, *state: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """One step from `phi`: support losses, the gradient, the change and the next state."""
        support, gradient = problem.support_and_gradient(self.look(phi, *state))
        return support, gradient, *self.update(number, self.clip(gradient), *state)

    def objective_at_step(
        self, problem: InnerProblem, support: tf.Tensor, phi: tf.Tensor, *state: tf.Tensor
    ) -> tf.Tensor:
        """The inner objective at the point where a step from `phi` takes its gradient."""
        point = tf.stop_gradient(self.look(phi, *state))
        return problem.with_proximal_term(support, point)


class DescentSolver(InnerSolver, Protocol):
    """An inner solver that is a rule and a number of steps, through which MAML differentiates."""

    @property
    def steps(self) -> int:
        """Maximum number of iterations."""

    @property
    def tolerance(self) -> float:
        """A task stops at this share of its first gradient norm; 0: never."""

    def rule(self, problem: InnerProblem) -> Rule:
        """The method, for `descend`.

        Args:
            problem: The inner problem.
        """
        ...


class _State(NamedTuple):
    step: tf.Tensor
    phi: tf.Tensor
    active: tf.Tensor
    steps_taken: tf.Tensor
    initial_norm: tf.Tensor  # ||grad G|| at theta
    final_norm: tf.Tensor  # ||grad G|| where the last step began
    initial_value: tf.Tensor
    value: tf.Tensor
    rule_state: tuple[tf.Tensor, ...]


def descend(
    problem: InnerProblem, start: tf.Tensor, rule: Rule, steps: int, tolerance: float
) -> InnerSolution:
    """Repeat `phi <- phi + change`. The path is not stored: memory does not grow with `steps`.

    Args:
        problem: The inner problem.
        start: `[tasks, size]`.
        rule: The method.
        steps: Maximum number of iterations; 0 stays at the start. `problem.steps` precede it.
        tolerance: A task stops when `||grad G||` has fallen below this share of its first value;
            0 runs all steps.
    """
    counts = StepCounts.of(problem, steps)
    if counts.all_zero:
        return at_start(problem, start)
    masks = bool(tolerance) or counts.of_tasks is not None

    def step_of_all(s: _State) -> _State:
        support, gradient, change, *rule_state = rule.step(problem, s.step, s.phi, *s.rule_state)
        # Without a tolerance only the first and the last norm and value are used.
        evaluates = tf.equal(s.step, 0) | counts.is_last_of_some(s.step) | bool(tolerance)
        # Only the path is differentiated. A gradient through the condition would be more than
        # useless: TensorFlow's memory optimizer breaks sums of gradients around it.
        observed = tuple(tf.stop_gradient(x) for x in (gradient, support, s.phi, *s.rule_state))
        gradient_norm, objective = tf.cond(
            evaluates,
            lambda: (
                norm(observed[0]),
                tf.stop_gradient(rule.objective_at_step(problem, *observed[1:])),
            ),
            lambda: (s.final_norm, s.value),
        )
        initial_norm = tf.where(tf.equal(s.step, 0), gradient_norm, s.initial_norm)
        moves = counts.within(s.active, s.step)
        if tolerance:
            moves &= gradient_norm > tolerance * initial_norm
        if masks:
            change = select(moves, change, tf.zeros_like(change))
            # A look-ahead point that goes on would end in NaN, which no mask takes back.
            rule_state = [select(moves, *p) for p in zip(rule_state, s.rule_state, strict=True)]
        return _State(
            step=s.step + 1,
            phi=s.phi + change,
            active=counts.within(moves, s.step + 1),
            steps_taken=s.steps_taken + tf.cast(moves, tf.int32),
            initial_norm=initial_norm,
            final_norm=tf.where(s.active, gradient_norm, s.final_norm),
            initial_value=tf.where(tf.equal(s.step, 0), objective, s.initial_value),
            value=tf.where(s.active, objective, s.value),
            rule_state=tuple(rule_state),
        )

    tasks = tf.shape(start)[:1]
    zeros = tf.zeros(tasks, start.dtype)
    end = while_active(
        step_of_all,
        _State(
            step=tf.constant(0),
            phi=start,
            active=tf.ones(tasks, tf.bool),
            steps_taken=tf.zeros(tasks, tf.int32),
            initial_norm=zeros,
            final_norm=zeros,
            initial_value=zeros,
            value=zeros,
            rule_state=tuple(rule.begin),
        ),
        counts.most,
    )
    # A single step evaluates theta alone.
    value = end.value if isinstance(counts.most, int) and counts.most > 1 else None
    return descent_solution(
        end.phi, end.steps_taken, end.initial_norm, end.final_norm, end.initial_value, value
    )


def at_start(problem: InnerProblem, start: tf.Tensor) -> InnerSolution:
    """The solution without a step: a baseline that does not adapt."""
    support, gradient = problem.support_and_gradient(start)
    value, size = problem.with_proximal_term(support, start), norm(gradient)
    none = tf.zeros(tf.shape(start)[:1], tf.int32)
    observed = (tf.stop_gradient(x) for x in (size, value))  # only the path is differentiated
    size, value = observed
    return descent_solution(tf.identity(start), none, size, size, value, value)


def descent_solution(
    phi: tf.Tensor,
    steps_taken: tf.Tensor,
    initial_norm: tf.Tensor,
    final_norm: tf.Tensor,
    initial_value: tf.Tensor,
    value: tf.Tensor | None,
) -> InnerSolution:
    """The `InnerSolution` of a descent. A single step evaluates theta alone and has no value."""
    return InnerSolution(
        phi,
        steps_taken,
        steps_taken,
        initial_norm,
        final_norm,
        finite(phi),
        initial_value=initial_value,
        value=value,
    )
