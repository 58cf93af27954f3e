"""Nystrom: a low-rank approximation of the curvature, inverted exactly."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from keras_imaml._utils.configurable import Configurable
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml._utils.vectors import finite, norm, rounding, select
from keras_imaml.linear.solution import LinearSolution, Operator, Status


@keras.saving.register_keras_serializable(package="keras_imaml")
@dataclass(frozen=True)
class Nystrom(Configurable):
    """Solve `(H + M) w = v` with `H` replaced by its Nystrom approximation of low rank.

    `rank` products with random vectors give `H ~ Y (O' Y)^+ Y'`, Y = H O. Small dense algebra
    does the rest, without iterations. The solution is exact if the rank of `H` is at most `rank`.
    For Gauss-Newton products that is support examples x (classes - 1). Negative curvature is
    ignored: use Gauss-Newton products, or look at the residual, which is always the true one.

    Args:
        rank: Number of products. Defaults to `20`.
        seed: Seed of the random vectors. Defaults to `0`.
        tolerance: Relative residual at which a task counts as converged. Defaults to `1e-3`.

    Example:

    ```python
    ki.IMAML(linear=ki.linear.Nystrom(rank=20))
    ```

    References:
        Hataya and Yamada: Nystrom Method for Accurate and Scalable Implicit Differentiation,
        2023; Frangella, Tropp, Udell: Randomized Nystrom Preconditioning, 2021.
    """

    rank: int = 20
    seed: int = 0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_integer("rank", self.rank, minimum=1)
        check_integer("seed", self.seed, minimum=0)
        check_number("tolerance", self.tolerance, minimum=0.0)

    def solve(
        self, operator: Operator, rhs: tf.Tensor, preconditioner: Operator | None = None
    ) -> LinearSolution:
        """See `LinearSolver.solve`; `preconditioner` is the exact inverse of the diagonal M."""
        inverse = preconditioner or tf.identity
        rank = min(self.rank, rhs.shape[1] or self.rank)
        valid = finite(rhs)
        rhs = select(valid, rhs, tf.zeros_like(rhs))
        root = tf.sqrt(inverse(tf.ones_like(rhs)))  # M^-1/2

        def scaled(v: tf.Tensor) -> tf.Tensor:  # B v,  B = M^-1/2 A M^-1/2 - I
            return root * operator(root * v) - v

        size = tf.shape(rhs)[1]
        probes = tf.random.stateless_normal([size, rank], [self.seed, 0], dtype=rhs.dtype)
        probes = tf.transpose(tf.linalg.qr(probes).q)  # [rank, size], orthonormal

        def product(_: tf.Tensor, probe: tf.Tensor) -> tf.Tensor:
            return scaled(tf.broadcast_to(probe, tf.shape(rhs)))

        images = tf.scan(product, probes, initializer=tf.zeros_like(rhs), parallel_iterations=1)
        images = tf.transpose(images, [1, 2, 0])  # Y = B O, [tasks, size, rank]
        # A single matrix that is not finite would make the eigenvalues fail for all tasks.
        solved = finite(images)
        images = select(solved, images, tf.zeros_like(images))
        # Eigenvalues below this share of the largest are rounding errors.
        core = tf.einsum("rd,tdk->trk", probes, images)
        values, vectors = tf.linalg.eigh((core + tf.linalg.matrix_transpose(core)) / 2)
        cutoff = 10 * rounding(rhs.dtype) * tf.reduce_max(tf.abs(values), 1, keepdims=True)
        significant = values > tf.maximum(cutoff, 1e-30)
        factor = tf.where(significant, tf.math.rsqrt(tf.where(significant, values, 1)), 0)
        thin = tf.einsum("tdr,trk->tdk", images, vectors) * factor[:, None]  # B ~ thin thin'
        # Woodbury: (I + F F')^-1 = I - F (I + F'F)^-1 F'
        gram = tf.matmul(thin, thin, transpose_a=True) + tf.eye(rank, dtype=rhs.dtype)
        b = root * rhs
        inner = tf.linalg.solve(gram, tf.einsum("tdk,td->tk", thin, b)[..., None])[..., 0]
        w = root * (b - tf.einsum("tdk,tk->td", thin, inner))
        solved &= finite(w)
        w = select(solved, w, inverse(rhs))
        residual = tf.math.divide_no_nan(norm(rhs - operator(w)), norm(rhs))
        status = tf.where(residual <= self.tolerance, int(Status.CONVERGED), int(Status.MAX_STEPS))
        status = tf.where(valid & solved, status, int(Status.NON_FINITE))
        steps = tf.fill(tf.shape(rhs)[:1], rank + 1)
        return LinearSolution(w, residual, steps, tf.cast(status, tf.int32))
