"""Memory does not grow with the number of inner steps: the point of the implicit gradient."""

import os
import subprocess
import sys

import pytest

TRAIN = """
import re, sys
import keras, numpy as np
import keras_imaml as ki

rng = np.random.default_rng(0)
x = lambda n: rng.uniform(size=(4, n, 28, 28, 1)).astype("float32")
y = lambda n: np.tile(np.arange(5, dtype="int32"), (4, n))
data = (x(5), y(1)), (x(25), y(5))
learner = ki.MetaLearner(
    ki.models.Conv4(5, filters=16),
    ki.IMAML(inner=ki.inner.GradientDescent(steps=int(sys.argv[1]), learning_rate=0.01)),
)
learner.compile(
    optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
for _ in range(2):
    learner.train_on_batch(*data)
print(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
"""


def peak(steps):
    """The largest resident size of a process that trains, in kB.

    (What `getrusage` tells of a child begins at the size of its parent.)
    """
    result = subprocess.run(
        [sys.executable, "-c", TRAIN, str(steps)], capture_output=True, text=True, check=True
    )
    return int(result.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_256_inner_steps_take_the_memory_of_4():
    assert peak(256) == pytest.approx(peak(4), rel=0.03)
