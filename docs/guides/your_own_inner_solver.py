# %% [markdown]
# # Write your own inner solver
#
# The implicit meta-gradient does not depend on how the inner problem was solved. An inner solver is
# therefore one function, from a problem to a solution. It may use a line search, a closed form, or
# no derivatives at all: `IMAML` differentiates the result correctly if it is near the minimizer.
#
# ## The problem and the solution
#
# `minimize` gets an `InnerProblem`, for all tasks of a meta-batch at once:
#
# | attribute | meaning |
# |---|---|
# | `problem.start()` | theta, once per task: `[tasks, size]` |
# | `problem.value(phi)` | `G = support loss + lambda/2 ‖phi − theta‖²`: `[tasks]` |
# | `problem.gradient(phi)` | its gradient: `[tasks, size]` |
# | `problem.proximal_gradient(phi)` | the part from the proximal term |
# | `problem.theta`, `problem.strength` | theta `[size]`; lambda, a scalar or `[size]` |
# | `problem.steps` | `[tasks]`, where tasks have their own numbers of steps; else None |
#
# and returns an `InnerSolution` ([the interface](../../keras_imaml/inner/solution.py)).
#
# ## A proximal gradient method
#
# Gradient descent on G needs a step below `2 / (curvature + lambda)`: a large lambda blows it up.
# The proximal gradient method takes the step on the support loss alone, and the proximal term
# exactly:
#
#     phi ← argmin ⟨∇support loss(phi_k), phi⟩ + ‖phi − phi_k‖²/(2 rate) + lambda/2 ‖phi − theta‖²
#         = (phi_k − rate ∇support loss(phi_k) + rate lambda theta) / (1 + rate lambda)
#
# A solver is a frozen dataclass, so that Keras can save a learner with it.

# %%
from dataclasses import dataclass

import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras
import tensorflow as tf
from keras_imaml.inner import Configurable, InnerSolution, finite, norm


@keras.saving.register_keras_serializable(package="my_project")
@dataclass(frozen=True)
class ProximalGradient(Configurable):
    """Steps on the support loss; the proximal term is solved exactly in each."""

    steps: int = 16
    rate: float = 0.1

    def minimize(self, problem, start=None):
        phi = problem.start() if start is None else start
        pull = self.rate * problem.strength  # a scalar, or one number a weight

        def body(phi, first, last):
            gradient = problem.gradient(phi)
            size = norm(gradient)
            support = gradient - problem.proximal_gradient(phi)
            after = (phi - self.rate * support + pull * problem.theta) / (1 + pull)
            return after, tf.where(tf.less(first, 0), size, first), size

        unknown = -tf.ones_like(phi[:, 0])
        phi, first, last = tf.while_loop(
            lambda *_: True, body, (phi, unknown, unknown), maximum_iterations=self.steps
        )
        step_counts = tf.fill(tf.shape(first), self.steps)
        return InnerSolution(
            phi=phi,
            steps=step_counts,
            gradients=step_counts,  # the cost, in gradients
            initial_gradient_norm=first,
            gradient_norm=last,
            valid=finite(phi),
        )


# %% [markdown]
# ## Check it against Newton-CG
#
# For a linear network with cross-entropy, G is strongly convex and has one minimizer: correct
# solvers agree there. `learner.objective` and `inner_problem` make the problem of real tasks.

# %%
keras.utils.set_random_seed(0)
tasks = ki.data.glyphs("train", way=5, shot=2, query=5, seed=0, classes=100).batch(8)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
linear = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])


def problem_of(strength):
    learner = ki.MetaLearner(linear, ki.IMAML(proximal_strength=strength))
    learner.compile(loss=loss)
    return learner.algorithm.inner_problem(learner.objective(next(iter(tasks)), training=False))


problem = problem_of(strength=0.5)
reference = ki.inner.NewtonCG(steps=30, linear_steps=50, linear_tolerance=1e-6).minimize(problem)
way = norm(reference.phi - problem.start())
for steps in (1, 4, 16, 64, 256):
    solution = ProximalGradient(steps=steps, rate=0.05).minimize(problem)
    distance = tf.reduce_max(norm(solution.phi - reference.phi) / way)
    print(f"{steps:4} steps: {100 * float(distance):9.4f} % of the way from theta is left")

# %% [markdown]
# With a large lambda, gradient descent at the same step size diverges. The proximal step does not.

# %%
strict = problem_of(strength=100.0)
reference = ki.inner.NewtonCG(steps=30, linear_steps=50, linear_tolerance=1e-6).minimize(strict)
for solver in (
    ki.inner.GradientDescent(steps=64, learning_rate=0.05),
    ProximalGradient(steps=64, rate=0.05),
):
    left = norm(solver.minimize(strict).phi - reference.phi) / norm(reference.phi - strict.start())
    print(f"{type(solver).__name__:16} {float(tf.reduce_max(left)):.1e} of the way is left")

# %% [markdown]
# ## Train with it
#
# Nothing else changes. `inner_residual` in the history says how close your solver came to the
# minimizer.

# %%
learner = ki.MetaLearner(
    ki.models.MLP(5, input_shape=(784,), hidden=(64,)),
    ki.IMAML(proximal_strength=0.5, inner=ProximalGradient(steps=16, rate=0.2)),
)
learner.compile(optimizer=keras.optimizers.Adam(2e-3), loss=loss, metrics=["accuracy"])


def flat(support, query):
    (support_x, support_y), (query_x, query_y) = support, query
    rows = lambda x: tf.reshape(x, [*x.shape[:2], 784])  # noqa: E731
    return (rows(support_x), support_y), (rows(query_x), query_y)


history = learner.fit(tasks.map(flat), steps_per_epoch=50, epochs=2, verbose=2)
print("inner residual", [round(value, 4) for value in history.history["inner_residual"]])

# %% [markdown]
# `MAML` differentiates the steps of gradient descent and accepts no other solver. The solvers of
# the package ([keras_imaml/inner](../../keras_imaml/inner)) have the same interface and are short:
# L-BFGS and Newton-CG stop each task by itself, which the one above does not.
