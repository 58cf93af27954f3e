"""Loops in which each task stops by itself."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml._utils.loops import while_active


class Halving(NamedTuple):
    value: tf.Tensor
    nested: tuple[tf.Tensor, ...]
    active: tf.Tensor


@pytest.mark.parametrize(
    ("max_steps", "steps_taken"), [(10, [0, 2, 4]), (3, [0, 2, 3]), (0, [0, 0, 0])]
)
def test_each_task_stops_independently(run, max_steps, steps_taken):
    def halved(s):
        value = tf.where(s.active, s.value / 2, s.value)
        steps = s.nested[0] + tf.cast(s.active, tf.int32)
        return Halving(value, (steps,), value > 1)

    def end(start):
        none = tf.zeros([3], tf.int32)
        return while_active(halved, Halving(start, (none,), start > 1), max_steps)

    start = [1.0, 4.0, 16.0]
    result = run(end, tf.constant(start))
    assert isinstance(result, Halving)
    assert result.nested[0].numpy().tolist() == steps_taken
    np.testing.assert_array_equal(result.value, start / 2.0 ** np.array(steps_taken))
