"""Small learners and the data they learn from, shared by the tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.models.head import head


def small(
    filters=4,
    classes=3,
    shape=(8, 8, 1),
    activation="relu",
    tied_head=False,
    cosine=False,
    centered=False,
    fixed_statistics=False,
    dtype=None,
    blocks=1,
):
    """`Conv4` with one or two blocks: the same kinds of layers in a small graph."""
    exact = keras.dtype_policies.get(dtype).variable_dtype
    inputs = x = keras.Input(shape, dtype=exact)
    for block in range(1, blocks + 1):
        x = keras.layers.Conv2D(
            filters, 3, strides=2, padding="same", dtype=dtype, name=f"conv_{block}"
        )(x)
        x = ki.layers.TaskBatchNormalization(
            fixed=fixed_statistics, dtype=dtype, name=f"norm_{block}"
        )(x)
        if block < blocks or not cosine:
            x = keras.layers.Activation(activation, dtype=dtype, name=f"activation_{block}")(x)
    return keras.Model(inputs, head(x, classes, tied_head, cosine, exact, centered), name="small")


NETWORKS = {  # of images, for settings that all of them have
    "plain": small,
    "residual": lambda **options: ki.models.ResNet12(3, (4, 4, 1), (2,), "average", **options),
}


QUICK_AND_SLOW = [
    name if name == "plain" else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS
]


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


def traced_step(learner, data):
    """The graph of a training step; one that makes metrics would be traced twice."""
    learner._build_metrics(data)
    return tf.function(learner.train_step, autograph=False).get_concrete_function(data).graph


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
    learner = ki.MetaLearner(model or small(), algorithm or imaml(), **settings)
    learner.compile(
        optimizer=optimizer or keras.optimizers.Adam(rate),
        loss=loss or cross_entropy(),
        metrics=list(metrics),
        **compile_settings,
    )
    return learner
