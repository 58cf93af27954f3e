"""A network may end in any layer: the slope of the loss may come as slices of a gather."""

import keras
import numpy as np
import pytest

import keras_imaml as ki
from tests import learners

IMAGES = (4, 4, 2)
LAST = {
    "normalization": ((3,), lambda: ki.layers.TaskBatchNormalization()),
    "normalization_of_images": (IMAGES, lambda: ki.layers.TaskBatchNormalization()),
    "resizing": (IMAGES, lambda: keras.layers.Resizing(3, 3)),
    "upsampling": (IMAGES, lambda: keras.layers.UpSampling2D(interpolation="bilinear")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAST)
def test_a_network_may_end_in_it(name):
    shape, layer = LAST[name]
    first = keras.layers.Conv2D(2, 1) if len(shape) == 3 else keras.layers.Dense(2)
    network = keras.Sequential([keras.Input(shape), first, layer()])
    learner = learners.compiled(network, learners.imaml(), loss="mse", metrics=())
    random = np.random.default_rng(0)
    sets = [
        tuple(random.normal(size=(2, 3, *size)).astype("float32") for size in sizes)
        for sizes in [(shape, network.output_shape[1:])] * 2
    ]
    history = learner.fit(*sets, verbose=0).history
    assert history["bad_tasks"] == [0] and np.isfinite(history["loss"]).all()
