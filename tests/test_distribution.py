"""One device and several replicas learn the same."""

import subprocess
import sys

import numpy as np
import pytest

TRAIN = """
import sys
import numpy as np, tensorflow as tf

replicas = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
)
import contextlib
import keras
import keras_imaml as ki
from tests import learners

keras.utils.set_random_seed(0)
devices = [f"CPU:{i}" for i in range(replicas)]
strategy = tf.distribute.MirroredStrategy(devices) if replicas > 1 else None
with strategy.scope() if strategy else contextlib.nullcontext():
    learner = learners.compiled(
        learners.conv4(filters=2),
        learners.imaml(proximal_strength=ki.ProximalStrength(1.0, learned=True)),
        # The biases before a normalisation have no gradient but rounding, which Adam would scale.
        optimizer=keras.optimizers.SGD(0.1),
    )
batches = [learners.images(tasks=4, seed=seed) for seed in range(3)]
tasks = learners.dataset(*batches)
history = learner.fit(tasks, steps_per_epoch=3, verbose=0).history
result = learner.evaluate(tasks, steps=2, verbose=0, return_dict=True)
np.savez(
    sys.argv[2],
    **history,
    **{f"val_{name}": value for name, value in result.items()},
    **{f"weight_{i}": v.numpy() for i, v in enumerate(learner.trainable_variables)},
)
"""


def train(replicas, path):
    result = subprocess.run(
        [sys.executable, "-c", TRAIN, str(replicas), str(path)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return np.load(path)


@pytest.mark.slow
def test_two_replicas_learn_what_one_device_learns(tmp_path):
    one, two = train(1, tmp_path / "one.npz"), train(2, tmp_path / "two.npz")
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-5, err_msg=name)
