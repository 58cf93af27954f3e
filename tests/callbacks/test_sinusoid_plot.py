"""The picture of adaptation to waves."""

import numpy as np
import pytest
from tensorflow.core.util import event_pb2
from tensorflow.python.lib.io import tf_record

import keras_imaml as ki
from tests.callbacks.sinusoid_runs import learner, tasks


@pytest.mark.slow
def test_each_epoch_leaves_a_picture(tmp_path):
    plot = ki.callbacks.SinusoidPlot(ki.data.sinusoid("validation", query=50), str(tmp_path))
    learner().fit(tasks(), steps_per_epoch=1, epochs=2, verbose=0, callbacks=[plot])
    (file,) = (tmp_path / "sinusoid").iterdir()
    tags = [
        value.tag
        for record in tf_record.tf_record_iterator(str(file))
        for value in event_pb2.Event.FromString(record).summary.value
    ]
    assert tags == ["sinusoid/adaptation"] * 2


def test_the_adapted_curve_moves_with_the_support(tmp_path):
    plot = ki.callbacks.SinusoidPlot(ki.data.sinusoid("validation", query=50), str(tmp_path), 1)
    plot.set_model(learner())
    picture = plot.draw()
    assert picture.shape == (160, 480, 3)
    (support_x, support_y), query = plot.episodes[0]
    plot.episodes[0] = ((support_x, support_y + 3), query)
    assert np.any(plot.draw() != picture)
