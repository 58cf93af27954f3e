"""The learning rate of the inner level, one a layer."""

import numpy as np
import pytest

import keras_imaml as ki
from tests import learners, problems


def test_each_layer_takes_steps_of_its_own():
    problem = problems.Images()
    objective = problems.objective_of(problem)
    rate = ki.LearningRate({"head": 0.5, "default": 1e-30}, per="layer", learned=False)
    algorithm = ki.IMAML(1.0, ki.inner.GradientDescent(2, rate))
    algorithm.prepare(objective.parameters)
    distances = np.abs(algorithm.adapt(objective).phi - objective.parameters.theta()).max(axis=0)
    head = objective.parameters.groups[-1].size
    assert np.all(distances[:-head] < 1e-20)
    assert np.all(distances[-head:] > 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("learned", [True, False])
def test_it_trains_and_is_saved_with_the_learner(learned, tmp_path):
    import keras

    rate = ki.LearningRate(0.1, per="layer", learned=learned)
    learner = learners.compiled(algorithm=ki.MAML(ki.inner.GradientDescent(2, rate)))
    learner.fit(learners.dataset(learners.images()), steps_per_epoch=2, verbose=0)
    values = rate.value().numpy()
    assert np.any(np.abs(values - 0.1) > 1e-4) == learned
    learner.save(tmp_path / "learner.keras")
    loaded = keras.saving.load_model(tmp_path / "learner.keras")
    np.testing.assert_array_equal(loaded.algorithm.inner.learning_rate.value(), values)


def test_zero_is_refused():
    with pytest.raises(ValueError, match="learning_rate.*above 0.*Received"):
        ki.LearningRate(0.0)
