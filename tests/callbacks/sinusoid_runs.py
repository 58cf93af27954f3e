"""A small learner of sine waves, and its tasks."""

import keras

import keras_imaml as ki


def learner(hidden=(8,), optimizer="adam", seed=0):
    keras.utils.set_random_seed(seed)
    meta_learner = ki.MetaLearner(
        ki.models.MLP(hidden=hidden),
        ki.IMAML(
            proximal_strength=ki.ProximalStrength(1.0, learned=True),
            inner=ki.inner.GradientDescent(steps=2, learning_rate=0.01),
        ),
    )
    meta_learner.compile(optimizer=optimizer, loss="mse")
    return meta_learner


def tasks(start=0):
    return ki.data.sinusoid(shot=5, query=5, start=start * 4).batch(4, drop_remainder=True)
