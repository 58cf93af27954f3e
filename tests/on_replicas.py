"""Trains on one device, on several logical ones, or as one of several workers, and says what came.

python -m tests.on_replicas OUTPUT ONE_DEVICE|MIRRORED|WORKER REPLICAS [INDEX PORT...]
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf


def strategy_for(kind, replicas, index=0, ports=()):
    if kind == "one":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * replicas
        tf.config.set_logical_device_configuration(cpu, devices)
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": "worker", "index": index},
        }
    )
    return tf.distribute.MultiWorkerMirroredStrategy()


def tasks_of(count):
    """A finite number of tasks, the last meta-batch of which may be small."""
    import keras_imaml as ki

    tasks = ki.data.glyphs("train", way=5, shot=1, query=3, classes=20, image_size=14)
    batches = tasks.take(count).batch(8)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // 8)))


def main(output, kind, replicas, index="0", *ports):
    strategy = strategy_for(kind, int(replicas), int(index), ports)

    import keras

    import keras_imaml as ki
    from tests import learners

    keras.utils.set_random_seed(0)
    with strategy.scope():
        # Masks of dropout are those of the tasks, wherever they are.
        network = keras.Sequential(
            [keras.Input((196,)), keras.layers.Dense(4, "softplus")]
            + [keras.layers.Dropout(0.4), keras.layers.Dense(5)]
        )
        drawing = ki.MetaLearner(network, learners.imaml())
        learner = learners.compiled(
            # Rounding grows where a ReLU has its kink, however tasks are spread.
            learners.small(4, 5, (14, 14, 1), activation="softplus", blocks=1),
            learners.imaml(
                proximal_strength=ki.ProximalStrength(1.0, learned=True), linear=ki.linear.Dual()
            ),
            # The biases before a normalization have no gradient but rounding, which Adam would
            # scale up. The norm is that of the gradient of all tasks.
            optimizer=keras.optimizers.SGD(0.02, momentum=0.9, global_clipnorm=0.5),
        )
    # Compiled outside of the scope. A sum is not divided by the number of replicas, as Keras
    # divides a mean.
    summed = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    drawing.compile("sgd", summed, metrics=["accuracy"])
    # The last meta-batches are of seven tasks, and of a single one: a replica may have none.
    large_set, small_set = tasks_of(39), tasks_of(9)
    first = learner.fit(large_set, verbose=0).history
    history = learner.fit(small_set, verbose=0).history
    result = learner.evaluate(small_set, verbose=0, return_dict=True)
    (odd_batch,) = tasks_of(7)
    on_batch = learner.train_on_batch(*odd_batch, return_dict=True)
    flat = lambda pair: (tf.reshape(pair[0], [-1, pair[0].shape[1], 196]), pair[1])  # noqa: E731
    flat_set = small_set.map(lambda s, q: (flat(s), flat(q)))
    drawn_result = drawing.evaluate(flat_set, verbose=0, return_dict=True)
    drawn_history = drawing.fit(flat_set, epochs=2, verbose=0).history
    np.savez(
        output,
        drawn_losses=drawn_history["loss"],
        **{f"drawn_weight_{i}": v.numpy() for i, v in enumerate(drawing.trainable_variables)},
        **{f"drawn_{name}": value for name, value in drawn_result.items()},
        drawn_steps=drawing.optimizer.iterations.numpy(),
        steps=learner.optimizer.iterations.numpy(),
        **{f"first_{name}": value for name, value in first.items()},
        **history,
        **{f"on_batch_{name}": value for name, value in on_batch.items()},
        **{f"val_{name}": value for name, value in result.items()},
        **{f"weight_{i}": v.numpy() for i, v in enumerate(learner.trainable_variables)},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
