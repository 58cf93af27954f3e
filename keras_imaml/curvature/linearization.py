"""The inner optimality condition `grad G(phi, m) = 0`, linearized once at the solution."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from keras_imaml.objectives.inner_problem import InnerProblem


class Linearization(NamedTuple):
    """`grad G` and its derivatives at `phi`; the forward pass is not repeated.

    Attributes:
        problem: The inner problem at the current values of the meta-parameters.
        value: `[tasks]`, `G(phi, m)`.
        gradient: `[tasks, size]`, `grad_phi G(phi, m)`: zero at an exact inner solution.
        product: `v -> A v` on `[tasks, size]`; A is the curvature of G with respect to phi.
        mixed: `w -> grad_m < grad_phi G(phi, m), w >`, one tensor for each variable m, or None
            if m does not enter.
    """

    problem: InnerProblem
    value: tf.Tensor
    gradient: tf.Tensor
    product: Callable[[tf.Tensor], tf.Tensor]
    mixed: Callable[[tf.Tensor], list[Any]]


class Curvature(Protocol):
    """The interface of the curvatures: a way to linearize the inner problem."""

    def linearize(
        self, problem: Callable[[], InnerProblem], phi: tf.Tensor, variables: Sequence[Any]
    ) -> Linearization:
        """Linearize at `phi`.

        Args:
            problem: Builds the inner problem from the current values of the meta-parameters. It
                is called under a tape, which records how they enter.
            phi: `[tasks, size]`, the point at which to linearize.
            variables: The meta-parameters m.
        """
        ...
