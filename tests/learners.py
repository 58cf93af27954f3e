"""Small learners and the data they learn from, shared by the tests."""

import keras
import numpy as np
import tensorflow as tf

import keras_imaml as ki

NETWORKS = {  # of images, for settings that all of them have
    "conv4": lambda **more: ki.models.Conv4(3, (16, 16, 1), 4, downsample="average", **more),
    "resnet12": lambda **more: ki.models.ResNet12(3, (8, 8, 1), (2, 3), "average", **more),
}


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def images(tasks=4, way=3, shot=1, query=2, seed=0):
    """A meta-batch of random 8 x 8 images, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.uniform(size=(tasks, n, 8, 8, 1)).astype("float32")  # noqa: E731
    labels = lambda n: np.tile(np.arange(way, dtype="int32"), (tasks, n))  # noqa: E731
    return (draw(way * shot), labels(shot)), (draw(way * query), labels(query))


def dataset(*batches):
    """The given meta-batches, one after the other, for ever."""
    stacked = tf.nest.map_structure(lambda *parts: np.stack(parts), *batches)
    return tf.data.Dataset.from_tensor_slices(stacked).repeat()


def imaml(steps=2, **settings):
    """A short iMAML."""
    settings.setdefault("proximal_strength", 1.0)
    settings.setdefault("linear", ki.linear.ConjugateGradient(max_steps=2))
    return ki.IMAML(inner=ki.inner.GradientDescent(steps=steps, learning_rate=0.1), **settings)


def conv4(filters=4, **settings):
    return ki.models.Conv4(3, input_shape=(8, 8, 1), filters=filters, **settings)


def compiled(
    model=None,
    algorithm=None,
    loss=None,
    metrics=("accuracy",),
    rate=1e-2,
    optimizer=None,
    **settings,
):
    """A learner of 3-way tasks with 8 x 8 images, ready to fit."""
    compile_settings = {
        name: settings.pop(name) for name in ("run_eagerly", "jit_compile") if name in settings
    }
    learner = ki.MetaLearner(model or conv4(), algorithm or imaml(), **settings)
    learner.compile(
        optimizer=optimizer or keras.optimizers.Adam(rate),
        loss=loss or cross_entropy(),
        metrics=list(metrics),
        **compile_settings,
    )
    return learner
