"""A network that computes in bfloat16, all weights adapting: vectors of solvers keep float32."""

import keras
import pytest
import tensorflow as tf

import keras_imaml as ki
from benchmarks.accuracy.half_precision import difference, gradient
from tests import learners

ALGORITHMS = {
    "gradient_descent": lambda: ki.IMAML(2.0, ki.inner.GradientDescent(4, 0.1)),
    "newton_cg": lambda: ki.IMAML(2.0, ki.inner.NewtonCG(2)),
    "hessian": lambda: ki.IMAML(2.0, ki.inner.GradientDescent(4, 0.1), curvature="hessian"),
    "maml": lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1)),
    "fomaml": lambda: ki.MAML(ki.inner.GradientDescent(2, 0.1), first_order=True),
    "reptile": lambda: ki.Reptile(ki.inner.GradientDescent(4, 0.1)),
}


def gradient_in(dtype, name):
    keras.utils.set_random_seed(0)
    learner = ki.MetaLearner(learners.small(dtype=dtype, activation="tanh"), ALGORITHMS[name]())
    learner.compile(keras.optimizers.SGD(1.0), loss=learners.cross_entropy())
    tasks = learners.images(shot=10, query=10)
    assert learner.objective(tasks, training=True).dtype == tf.float32  # of the solvers' vectors
    return gradient(learner, tasks)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_meta_gradient_is_that_of_float32_within_five_percent(name):
    expected, received = gradient_in("float32", name), gradient_in("mixed_bfloat16", name)
    distance, cosine = difference(expected, received)
    assert 0 < distance < 0.05
    assert cosine > 0.999
