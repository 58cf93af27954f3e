"""Newton-CG: the Hessian-free inner solver of the paper, batched over tasks."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.loops import while_active
from keras_imaml._utils.validation import check_choice, check_integer, check_number
from keras_imaml._utils.vectors import dot, finite, norm, select
from keras_imaml.curvature import CURVATURES
from keras_imaml.inner.descent import at_start
from keras_imaml.inner.line_search import backtrack
from keras_imaml.inner.solution import InnerSolution, count_with_values
from keras_imaml.inner.step_counts import StepCounts
from keras_imaml.linear import ConjugateGradient
from keras_imaml.linear.operators import Damped
from keras_imaml.objectives.inner_problem import InnerProblem


class _State(NamedTuple):
    step: tf.Tensor
    phi: tf.Tensor
    value: tf.Tensor  # G(phi)
    direction: tf.Tensor  # of the last step; a warm start begins here
    damping: tf.Tensor
    active: tf.Tensor
    steps: tf.Tensor
    gradients: tf.Tensor  # gradients spent; a product counts as two
    evaluations: tf.Tensor  # values of G spent
    initial_norm: tf.Tensor  # ||grad G(theta)||
    final_norm: tf.Tensor  # ||grad G|| where the last step began


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class NewtonCG(Configurable):
    """Newton's method with directions from conjugate gradient and an Armijo line search.

    A step solves `(A + mu I) d = -grad G` by a few products with the curvature A, and backtracks
    along d until G has decreased enough. The damping mu follows Levenberg and Marquardt: it
    decreases while the quadratic model predicts well, and increases otherwise.

    Args:
        steps: Maximum number of Newton steps. `0` does not adapt. Defaults to `4`.
        linear_steps: Maximum number of products with the curvature per step. Defaults to `5`,
            as in the paper.
        curvature: `"gauss_newton"` or `"hessian"`. Defaults to `"gauss_newton"`.
        damping: Initial mu, in units of curvature. `0` disables damping. Defaults to
            `0.01`.
        backtracks: Maximum number of halvings of a step. Defaults to `8`.
        warm_start: Whether a linear solve starts from the last direction, which takes two more
            products a step. Defaults to `False`.
        tolerance: A task stops when `||grad G(phi)||` has fallen below this share of its value at
            theta. Defaults to `0.0`.
        linear_tolerance: Relative residual at which the linear solve of a task ends. Far from
            the minimizer, a more accurate direction is not worth its products. Defaults to `0.3`.

    Example:

    ```python
    ki.IMAML(inner=ki.inner.NewtonCG(steps=4))
    ```

    References:
        Rajeswaran et al., 2019, section 4 (Hessian-free); Martens, 2010; Nocedal and Wright,
        2006, chapter 7.
    """

    differentiates_twice: ClassVar[bool] = True
    """Whether the solver takes second derivatives of the support loss."""

    steps_per_task: ClassVar[bool] = True
    """Whether each task may have its own number of steps, see `InnerProblem.steps`."""

    steps: int = 4
    linear_steps: int = 5
    curvature: str = "gauss_newton"
    damping: float = 0.01
    backtracks: int = 8
    warm_start: bool = False
    tolerance: float = 0.0
    linear_tolerance: float = 0.3

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=0)
        check_integer("linear_steps", self.linear_steps, minimum=1)
        check_number("linear_tolerance", self.linear_tolerance, minimum=0.0)
        check_choice("curvature", self.curvature, CURVATURES)
        check_number("damping", self.damping, minimum=0.0)
        check_integer("backtracks", self.backtracks, minimum=0)
        check_number("tolerance", self.tolerance, minimum=0.0)

    def minimize(self, problem: InnerProblem, start: tf.Tensor | None = None) -> InnerSolution:
        """See `InnerSolver.minimize`."""
        start = problem.start() if start is None else start
        counts = StepCounts.of(problem, self.steps)
        if counts.all_zero:
            return at_start(problem, start)
        curvature = CURVATURES[self.curvature]()
        linear = ConjugateGradient(self.linear_steps, self.linear_tolerance)

        def step_of_all(s: _State) -> _State:
            linearization = curvature.linearize(lambda: problem, s.phi, ())
            gradient, gradient_norm = linearization.gradient, norm(linearization.gradient)
            initial_norm = tf.where(tf.equal(s.step, 0), gradient_norm, s.initial_norm)
            active = (
                counts.within(s.active, s.step)
                & (gradient_norm > self.tolerance * initial_norm)
                & tf.math.is_finite(gradient_norm)
            )

            damped = Damped(linearization.product, s.damping)
            guess = s.direction if self.warm_start else tf.zeros_like(s.direction)
            rhs = -gradient - damped(guess) if self.warm_start else -gradient
            solution = linear.solve(damped, rhs)
            direction = guess + solution.solution
            # Indefinite products or a stale warm start may lead uphill: then take the gradient.
            direction = select(dot(gradient, direction) < 0, direction, -gradient)
            slope = dot(gradient, direction)
            step = backtrack(
                problem, s.phi, s.value, direction, slope, active, halvings=self.backtracks
            )
            if self.warm_start:
                direction_curvature = dot(direction, linearization.product(direction))
            else:  # the residual of conjugate gradient is orthogonal to its solution
                direction_curvature = -slope - s.damping * dot(direction, direction)
            gain = tf.math.divide_no_nan(step.value - s.value, slope + direction_curvature / 2)
            eased = tf.where(gain > 0.75, s.damping * 2 / 3, s.damping)
            damping = tf.where(gain < 0.25, s.damping * 1.5, eased)
            cost = 1 + 2 * (solution.steps + 2 * int(self.warm_start))
            return _State(
                step=s.step + 1,
                phi=step.phi,
                value=step.value,
                direction=select(step.accepted, direction, tf.zeros_like(direction)),
                damping=tf.where(active, damping, s.damping),
                active=counts.within(active & step.accepted, s.step + 1),
                steps=s.steps + tf.cast(active, tf.int32),
                gradients=s.gradients + tf.where(active, cost, 0),
                evaluations=s.evaluations + step.evaluations,
                initial_norm=initial_norm,
                final_norm=tf.where(s.active, gradient_norm, s.final_norm),
            )

        tasks = tf.shape(start)[:1]
        zeros = tf.zeros(tasks, start.dtype)
        initial_value = problem.value(start)
        end = while_active(
            step_of_all,
            _State(
                step=tf.constant(0),
                phi=start,
                value=initial_value,
                direction=tf.zeros_like(start),
                damping=zeros + self.damping,
                active=tf.ones(tasks, tf.bool),
                steps=tf.zeros(tasks, tf.int32),
                gradients=tf.zeros(tasks, tf.int32),
                evaluations=tf.ones(tasks, tf.int32),
                initial_norm=zeros,
                final_norm=zeros,
            ),
            counts.most,
        )
        gradients = count_with_values(end.gradients, end.evaluations)
        return InnerSolution(
            end.phi,
            end.steps,
            counts.zero_without_steps(gradients),
            end.initial_norm,
            end.final_norm,
            finite(end.phi),
            initial_value=initial_value,
            value=end.value,
        )
