"""Cores that work on tasks of their own. Threads are set once a process, so most of it is apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.distribution.pipelines import pipelines
from tests import learners, programs

IN_PIPELINES = """
import sys
import keras, numpy as np
import keras_imaml as ki
from keras_imaml.distribution.pipelines import pipelines
from tests.distribution.test_pipelines import trained

assert ki.parallel_tasks(3) == 3
assert pipelines() == 3
keras.config.set_floatx("float64")
np.savez(sys.argv[1], **trained())
"""


def trained():
    keras.utils.set_random_seed(0)
    tasks = ki.data.glyphs("train", 3, 1, 2, seed=0, classes=20, image_size=14).batch(5)
    network = learners.small(shape=(14, 14, 1), blocks=2)
    learner = ki.MetaLearner(network, ki.IMAML(inner=ki.inner.GradientDescent(steps=2)))
    learner.compile("sgd", learners.cross_entropy(), ["accuracy"])
    history = learner.fit(tasks.take(4), verbose=0).history
    evaluation = learner.evaluate(tasks.take(2), verbose=0, return_dict=True)
    weights = np.concatenate([w.ravel() for w in network.get_weights()])
    return {"weights": weights, "loss": history["loss"], "after": evaluation["loss"]}


@pytest.mark.slow
def test_training_in_pipelines_is_training(tmp_path, in_double_precision):
    """In double precision: in single, rounding may choose another side of a ReLU's kink."""
    file = tmp_path / "parallel.npz"
    programs.run(["-c", IN_PIPELINES, file], check=True, shortcuts=True)
    result = np.load(file)
    for name, expected in trained().items():
        np.testing.assert_allclose(result[name], expected, rtol=1e-8, atol=1e-10)


def test_a_late_call_is_refused():
    tf.constant(0)  # TensorFlow has started
    with pytest.raises(RuntimeError, match="Call it before anything else runs"):
        ki.parallel_tasks(3)


@pytest.mark.parametrize("cores", [0, -1, 1.5, "2"])
def test_numbers_of_cores_are_checked(cores):
    with pytest.raises(ValueError, match="Invalid value for `cores`"):
        ki.parallel_tasks(cores)


def test_there_is_one_pipeline_by_default():
    assert pipelines() == 1
