"""Linear operators tagged with their structure, so that solvers can exploit it."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

Linear = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class HessianProduct:
    """`v -> (H + lambda I) v`, which may be indefinite.

    Attributes:
        product: The product itself.
    """

    product: Linear

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return self.product(v)

    @property
    def is_positive_definite(self) -> bool | None:
        """None: it depends on the support loss around `phi`, and is not known."""
        return None


@dataclass(frozen=True)
class Damped:
    """`v -> (A + damping I) v`, of the same structure as `A`.

    Attributes:
        operator: `A`.
        damping: `[tasks]`, not negative.
    """

    operator: Linear
    damping: tf.Tensor

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return self.operator(v) + self.damping[:, None] * v

    @property
    def is_positive_definite(self) -> bool | None:
        """What `A` says of itself. A plain function counts as definite (see `LinearSolver`)."""
        return getattr(self.operator, "is_positive_definite", True)


@dataclass(frozen=True)
class GaussNewtonProduct:
    """`v -> (J' S J + P + lambda I) v`; outputs are flat, `[tasks, outputs of a support set]`.

    Attributes:
        push_forward: `v -> J v`, `[tasks, size] -> [tasks, outputs]`.
        loss_hessian: `z -> S z`, the Hessian of the support loss with respect to the outputs.
        pull_back: `u -> J' u`, `[tasks, outputs] -> [tasks, size]`.
        strength: lambda, a scalar or `[size]`.
        penalty: `v -> P v`, the Hessian of the model's own penalties; None without any.
    """

    push_forward: Linear
    loss_hessian: Linear
    pull_back: Linear
    strength: tf.Tensor
    penalty: Linear | None = None

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        total = self.pull_back(self.loss_hessian(self.push_forward(v))) + self.strength * v
        return total if self.penalty is None else total + self.penalty(v)

    @property
    def is_positive_definite(self) -> bool | None:
        """True: J' S J has no negative curvature for a loss convex in the outputs; lambda > 0."""
        return True

    @property
    def penalized(self) -> bool:
        """Whether the model has penalties."""
        return self.penalty is not None
