"""What TensorFlow converts wrongly for all tasks at once is what it is task by task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.batching.task_map import TaskMap

TASKS = 3
SQUARE = (3, 3)  # as many examples as channels: a wrong broadcast has a fitting shape


def padded(constant):
    return lambda x, y: tf.pad(x, [[0, 1], [1, 0]], constant_values=constant)


def biased(x, y):
    return tf.nn.bias_add(x, tf.reshape(y, [-1])[:3], "NC..")


def bias_for_all(x, y):
    return tf.nn.bias_add(x, tf.constant([1, 2, 3], x.dtype), "NC..")


def bias_of_ones(x, y):
    return biased(tf.ones((3, 3, 3), x.dtype), y)


def bias_gradient(x, y):
    return tf.raw_ops.BiasAddGrad(out_backprop=x, data_format="NCHW")


# Functions of two tensors of a task, and their shape.
CASES = {
    **{
        f"roll along {axis}": (lambda x, y, axis=axis: tf.roll(x, 1, axis), (2, 3, 4))
        for axis in (0, -1, -2, -3)
    },
    "roll along two": (lambda x, y: tf.roll(x, [1, 2], [-1, 0]), (2, 3, 4)),
    "roll by number of Keras": (lambda x, y: keras.ops.roll(x, 2, axis=-1), SQUARE),
    "roll of all": (lambda x, y: keras.ops.roll(x, 2), SQUARE),
    "roll by task": (lambda x, y: tf.roll(x, tf.cast(9 * y[0, 0], tf.int32), -1), SQUARE),
    "shift of a spectrum": (lambda x, y: tf.signal.fftshift(x, -1), SQUARE),
    "pad by one": (lambda x, y: keras.ops.pad(x, ((1, 0), (0, 2)), constant_values=1), SQUARE),
    "pad by a large number": (padded(-1e9), SQUARE),
    "pad by zero": (padded(0), SQUARE),
    "pad by task": (lambda x, y: padded(y[0, 1])(x, y), SQUARE),
    **{f"bias of rank {rank}": (biased, (3,) * rank) for rank in (3, 4, 5)},
    "bias for all tasks": (bias_for_all, (3, 3, 3)),
    "bias of what is the same": (bias_of_ones, (3, 3, 3)),
    "bias of channels last": (lambda x, y: tf.nn.bias_add(x, y[0, 0]), (3, 3, 3)),
    **{f"gradient of a bias of rank {rank}": (bias_gradient, (3,) * rank) for rank in (3, 4, 5)},
    "squeeze": (lambda x, y: tf.squeeze(x), (1, 3, 1)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tasks", [1, TASKS])
def test_all_tasks_at_once_are_each_task(name, tasks):
    function, shape = CASES[name]
    x, y = (tf.constant(part) for part in np.random.default_rng(0).normal(size=(2, tasks, *shape)))
    expected = [function(x[task], y[task]) for task in range(tasks)]
    task_map = TaskMap()
    result = task_map(lambda row: function(*row), (x, y))
    np.testing.assert_allclose(result, np.stack(expected), rtol=1e-12)
    assert not task_map.one_by_one
