# %% [markdown]
# # From a pretrained backbone
#
# Take a classifier of `keras.applications`, replace its head, and meta-learn how it adapts to new
# classes. The recipe is the same for backbones of KerasHub.

# %%
import numpy as np

import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras
from keras_imaml.data.glyphs import render

ki.parallel_tasks()
keras.utils.set_random_seed(0)
SIZE = 32

# %% [markdown]
# ## A backbone
#
# With a download, this is one line:
#
#     backbone = keras.applications.MobileNet(
#         input_shape=(224, 224, 3), alpha=0.5, include_top=False, pooling="avg"
#     )
#
# This guide works offline, so it trains the same architecture for a minute: 100 classes of glyphs
# (synthetic characters), as ordinary supervised classification.

# %%
mobilenet = keras.applications.MobileNet(
    input_shape=(SIZE, SIZE, 3), alpha=0.5, weights=None, include_top=False
)
# Images of 32 pixels leave one pixel at the end: use the features of an earlier layer.
features = keras.layers.GlobalAveragePooling2D()(mobilenet.get_layer("conv_pw_5_relu").output)
backbone = keras.Model(mobilenet.input, features, name="backbone")
for layer in backbone.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.9  # the default, 0.99, is meant for longer training


def drawings(first_class, classes, count):
    """Images in [-1, 1], as MobileNet expects, and their class numbers."""
    images = render(first_class, classes, count, image_size=SIZE).reshape(-1, SIZE, SIZE, 1)
    images = np.repeat(images, 3, axis=-1) / 127.5 - 1
    return images.astype("float32"), np.repeat(np.arange(classes), count)


train_x, train_y = drawings(0, 100, 12)
classifier = keras.Sequential([backbone, keras.layers.Dense(100)])
epochs = 15
schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(train_x) // 50)
classifier.compile(
    optimizer=keras.optimizers.Adam(schedule),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
classifier.fit(train_x, train_y, batch_size=50, epochs=epochs, verbose=0)
accuracy = classifier.evaluate(train_x, train_y, verbose=0, return_dict=True)["accuracy"]
print(f"accuracy on its own classes: {100 * accuracy:.0f} %")

# %% [markdown]
# ## Make it ready to adapt
#
# Batch normalization mixes the examples of a batch, and its moving statistics are state. Inside a
# task that is neither wanted nor exact. `replace_batch_normalization` copies the network with
# layers that keep the moving statistics fixed and whose scales and offsets still train.

# %%
features = ki.replace_batch_normalization(backbone)
network = keras.Sequential(
    [keras.Input((SIZE, SIZE, 3)), features, keras.layers.Dense(5, name="head")]
)

# %% [markdown]
# ## Meta-learn with the head adapting
#
# With `adapt="head"` only the last layer adapts. The layers before it are evaluated once per task,
# and the implicit rule still gives their exact meta-gradient. A head alone is a small problem:
# Newton-CG with the `Dual` solver finds its solution to float precision.

# %%
tasks = ki.data.from_arrays(train_x, train_y, way=5, shot=1, query=5, seed=0).batch(8)
test_x, test_y = drawings(100, 20, 20)
test_tasks = ki.data.from_arrays(test_x, test_y, way=5, shot=1, query=5, seed=0).batch(8)

learner = ki.MetaLearner(
    network,
    ki.IMAML(0.2, inner=ki.inner.NewtonCG(steps=5), linear=ki.linear.Dual()),
    adapt="head",
)
learner.compile(
    optimizer=keras.optimizers.Adam(1e-4, global_clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
print("before:", ki.evaluate(learner, test_tasks, num_tasks=200, verbose=False))
learner.fit(tasks, steps_per_epoch=40, epochs=2, verbose=2)
print("after: ", ki.evaluate(learner, test_tasks, num_tasks=200, verbose=False))

# %% [markdown]
# Both lines are accuracies on classes that neither the classifier nor the learner has seen.
#
# ## Adapt to five new classes
#
# One image per class. The result is an ordinary `keras.Model`.

# %%
(support_x, support_y), (query_x, query_y) = next(iter(test_tasks.unbatch()))
model = learner.adapt(support_x, support_y)
predicted = np.argmax(model.predict(query_x, verbose=0), axis=-1)
print(f"{np.sum(predicted == query_y)} of {len(query_y)} right")

# %% [markdown]
# ## What to change for photographs
#
# - Set `include_top=False, pooling="avg"` and keep the preprocessing of the backbone: most
#   networks of `keras.applications` have a `preprocess_input`, and some scale inside.
# - Draw tasks with `ki.data.from_folder`, as in [your own images](your_own_images.ipynb).
# - Adapt all weights with `adapt=None`. Use a small inner learning rate, such as 1e-3.
# - `tasks_per_chunk=1` evaluates one task at a time, which bounds memory.
