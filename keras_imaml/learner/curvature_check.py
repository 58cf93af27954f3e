"""A check of products with the curvature on a user's own network and data."""

from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.tracing import Traced
from keras_imaml._utils.validation import check_compiled
from keras_imaml.curvature.gauss_newton import GaussNewton, differentiable, losses_and_slope
from keras_imaml.curvature.hessian import Hessian
from keras_imaml.learner.first_step import half_precision
from keras_imaml.linear.operators import GaussNewtonProduct
from keras_imaml.objectives.after_trunk import after_trunk
from keras_imaml.objectives.inner_problem import InnerProblem
from keras_imaml.objectives.task_objective import TaskObjective

# Relative to the weights: longer steps cross more kinks of ReLUs, shorter ones end in rounding.
_STEPS = {"float32": 3e-4, "float64": 1e-5}
# Conv4, ResNet12, MLP and LSTM in float32 have up to 0.07, 0.05, 2e-7 and 0.004.
_TOLERANCES = {"outputs": 0.25, "loss": 0.25, "symmetry": 0.01, "gradient": 0.25}
_MEANINGS = {
    "outputs": "products with the Jacobian of the network differ from differences of its outputs",
    "loss": "the second derivative of the loss differs from differences of the first",
    "symmetry": "the Hessian is not symmetric",
    "gradient": "products with the Hessian differ from differences of the gradient",
}


def check_curvature(learner: Any, data: Any) -> dict[str, float]:
    """Check that second derivatives of the support loss are there, on the first task of `data`.

    TensorFlow has operations whose second derivative it lacks or leaves out in silence, and layers
    of your own may hold a `stop_gradient` or a custom gradient that stops the second one. The
    meta-gradient is then wrong, although all solvers converge. `fit` makes a faster check of
    single layers at its first step. This one looks at all of the network, in a graph, and takes
    some seconds.

    Args:
        learner: A compiled `keras_imaml.MetaLearner`.
        data: An element of its data, or a `tf.data.Dataset` of which the first is taken.

    Returns:
        Relative errors by name: of the products with the Jacobian (`"outputs"`), of the loss
        (`"loss"`), and but for `curvature="gauss_newton"`, of the symmetry of the Hessian
        (`"symmetry"`) and of products with it (`"gradient"`; 0 where the kinks of ReLUs leave no
        difference to compare with). Empty for algorithms without second derivatives.

    Raises:
        ValueError: If an error is too large, or the network computes in half precision.

    Example:

    ```python
    tasks = ki.data.glyphs("train", way=5, shot=1, query=5, seed=0).batch(4)
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=8), ki.IMAML())
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ki.check_curvature(learner, tasks)
    ```
    """
    check_compiled(learner, "check_curvature")
    algorithm = getattr(learner.algorithm, "algorithm", learner.algorithm)
    if not algorithm.differentiates_twice:
        return {}
    half = half_precision(learner)
    if half:
        raise ValueError(
            "Invalid value for `learner`. Expected a network in float32 or float64: differences "
            "of half precision are noise. Check the same network without mixed precision. "
            f"Received: half precision in {half}"
        )
    if isinstance(data, tf.data.Dataset):
        data = next(iter(data))
    exact = getattr(algorithm, "curvature", "hessian") == "hessian"
    values = Traced(lambda: _errors(learner, algorithm, data, exact))()
    errors = {name: float(error) for name, error in values.items()}
    bad = [name for name, error in errors.items() if not error <= _TOLERANCES[name]]
    if bad:
        raise ValueError(
            f"The curvature of the support loss is wrong: {_MEANINGS[bad[0]]}. A layer or the loss "
            "has an operation whose second derivative is missing, such as a `tf.custom_gradient` "
            "or a `stop_gradient` of your own. Give it one, freeze the layers before it, or use "
            "keras_imaml.MAML(first_order=True) or keras_imaml.Reptile(), which need none. "
            f"Received: relative errors {errors}"
        )
    return errors


def _errors(learner: Any, algorithm: Any, data: Any, exact: bool) -> dict[str, tf.Tensor]:
    objective = after_trunk(learner.objective(data, training=True).part(0, 1))
    theta = algorithm.parameters.theta()
    problem = InnerProblem(objective, theta, tf.zeros([], theta.dtype))
    phi = problem.start()
    v = tf.random.stateless_normal(tf.shape(phi), [0, 1], dtype=phi.dtype)
    v *= tf.norm(phi) / tf.norm(v)
    step = tf.constant(_STEPS[theta.dtype.name], theta.dtype)
    errors = _of_network(problem, phi, v, step)
    return {**errors, **_of_hessian(problem, phi, v, step)} if exact else errors


def _of_hessian(
    problem: InnerProblem, phi: tf.Tensor, v: tf.Tensor, step: tf.Tensor
) -> dict[str, tf.Tensor]:
    product = Hessian().linearize(lambda: problem, phi, []).product
    bent = product(v)
    direction = bent / tf.maximum(tf.norm(bent), keras.backend.epsilon())
    transposed = tf.reduce_sum(v * product(direction))
    symmetry = _relative(tf.reduce_sum(direction * bent), transposed)
    long, short = (
        (problem.gradient(phi + size * v) - problem.gradient(phi - size * v)) / (2 * size)
        for size in (step, step / 3)
    )
    error, spread = _relative(bent, short), _relative(long, short)
    # Where steps cross kinks, differences show a curvature that no derivative has, and disagree.
    gradient = tf.where(error > 4 * spread, error, tf.zeros_like(error))
    return {"symmetry": symmetry, "gradient": gradient}


def _of_network(
    problem: InnerProblem, phi: tf.Tensor, v: tf.Tensor, step: tf.Tensor
) -> dict[str, tf.Tensor]:
    objective: TaskObjective = problem.objective
    product = GaussNewton().linearize(lambda: problem, phi, []).product
    assert isinstance(product, GaussNewtonProduct)
    image = product.push_forward(v)
    forward, backward = (objective.support(phi + sign * step * v).outputs for sign in (1, -1))
    flat = lambda parts: tf.concat(  # noqa: E731
        [tf.reshape(part, [-1]) for part in tf.nest.flatten(parts)], 0
    )
    moved = (flat(differentiable(forward)) - flat(differentiable(backward))) / (2 * step)
    slopes = flat(losses_and_slope(objective, forward)[1]) - flat(
        losses_and_slope(objective, backward)[1]
    )
    return {
        "outputs": _relative(tf.reshape(image, [-1]), moved),
        "loss": _relative(tf.reshape(product.loss_hessian(image), [-1]), slopes / (2 * step)),
    }


def _relative(value: tf.Tensor, expected: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.norm(value - expected), tf.norm(expected))
