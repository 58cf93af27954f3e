"""This package's meta-step as a worker, in the main environment.

The variant `meta_gradient` (default) is what the peers compute; `train_step` is a whole step of
`MetaLearner.fit`, with diagnostics, metrics and the optimizer.
"""

import dataclasses
from types import SimpleNamespace

import keras_imaml as ki
from keras_imaml.learner.meta_batch import meta_gradient

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed.peers import protocol
from benchmarks.speed.workloads import Workload, build_network


def learner_for(settings: SimpleNamespace) -> ki.MetaLearner:
    """A compiled learner; the weights are those of `build_network`."""
    names = {field.name for field in dataclasses.fields(Workload)}
    workload = Workload(**{k: v for k, v in vars(settings).items() if k in names})
    learner = ki.MetaLearner(
        build_network(workload, settings.seed),
        ki.IMAML(
            proximal_strength=workload.proximal_strength,
            inner=ki.inner.GradientDescent(workload.inner_steps, workload.inner_learning_rate),
            linear=ki.linear.ConjugateGradient(workload.linear_steps, tolerance=0.0),
            curvature="hessian",
        ),
        transductive=True,
    )
    if workload.network == "mlp":
        loss = keras.losses.MeanSquaredError()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A rate of zero: every step starts at the same weights, as the peers' do.
    learner.compile(optimizer=keras.optimizers.Adam(0.0), loss=loss)
    return learner


def build(problem: protocol.Problem) -> protocol.Worker:
    """See `protocol.Worker`."""
    learner = learner_for(problem.settings)
    variables = learner.parameters.adapted
    for variable, weight in zip(variables, problem.weights, strict=True):
        variable.assign(weight)
    support_x, support_y, query_x, query_y = map(tf.constant, problem.tasks)
    data = ((support_x, support_y), (query_x, query_y))

    def meta(data):
        objective = learner.objective(data, training=True)
        return meta_gradient(learner.algorithm, objective, variables, None)

    gradients_of = tf.function(lambda data: meta(data).gradients, autograph=False)
    train_step = tf.function(learner.train_step, autograph=False)

    def step():
        gradients = gradients_of(data)
        gradients[-1].numpy()
        return gradients

    def whole_step():
        train_step(data)["loss"].numpy()

    def answer(gradients) -> np.ndarray:
        gradients = gradients_of(data) if gradients is None else gradients
        return np.concatenate([g.numpy().ravel() for g in gradients])

    def notes() -> dict[str, float]:
        diagnostics = tf.function(lambda data: meta(data).diagnostics, autograph=False)(data)
        return {name: float(value) for name, value in diagnostics.items()}

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    versions["keras_imaml"] = ki.__version__
    chosen = whole_step if problem.variant == "train_step" else step
    return protocol.Worker(chosen, answer, versions, notes)


if __name__ == "__main__":
    ki.parallel_tasks()
    protocol.serve(build)
