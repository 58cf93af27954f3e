# %% [markdown]
# # Evaluate properly on Omniglot
#
# Omniglot has 1623 handwritten characters. An accuracy on it means something only if three things
# are said: which classes were held out, how many tasks it is a mean of, and whether the query
# examples of a task see each other. This guide trains for about two minutes on two CPU cores, and
# says all three.
#
# The images (17 MB) are read with TensorFlow Datasets from the folder that the environment
# variable `KERAS_IMAML_DATA_DIR` names, or from its default folder. They are downloaded if they
# are not there; without a network the next cells stop and say how to prepare them on another
# machine.

# %%
import os

import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras
from keras_imaml.data.class_splits import read_split

ki.parallel_tasks()
keras.utils.set_random_seed(0)
data_dir = os.environ.get("KERAS_IMAML_DATA_DIR")  # None: the default folder

# %% [markdown]
# ## Held-out classes
#
# The split into classes is a file of this package, not a shuffle at run time: two programs that
# shuffle with different seeds test on classes that were trained on. Each character belongs to one
# split, and so do its rotations.

# %%
splits = {name: set(read_split("omniglot", name)) for name in ("train", "validation", "test")}
for name, classes in splits.items():
    print(f"{name:10} {len(classes):4} characters")
print("in common ", len(splits["train"] & splits["test"]))

# %%
tasks = ki.data.omniglot("train", way=5, shot=1, query=5, seed=0, data_dir=data_dir).batch(16)

# %% [markdown]
# ## Training
#
# Only the head adapts. All layers before it are meta-learned by the implicit rule. Newton-CG
# solves the strongly convex inner problem, and `Dual` the linear system, exactly.

# %%
network = ki.models.Conv4(5, filters=32)
learner = ki.MetaLearner(
    network,
    ki.IMAML(proximal_strength=0.2, inner=ki.inner.NewtonCG(steps=5), linear=ki.linear.Dual()),
    adapt="head",
    transductive=True,
)
learner.compile(
    optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = learner.fit(tasks, steps_per_epoch=100, epochs=3, verbose=2)

# %% [markdown]
# ## Intervals over tasks
#
# One task has 25 query images here, so its accuracy says little. `ki.evaluate` gives the mean over
# many tasks, with its 95 % interval. The interval is over tasks, for these weights: another
# training seed gives other weights, and needs another run.


# %%
def test(num_tasks):
    test_tasks = ki.data.omniglot("test", way=5, shot=1, query=5, seed=1, data_dir=data_dir)
    return ki.evaluate(learner, test_tasks.batch(20), num_tasks=num_tasks, verbose=False)


for num_tasks in (20, 100, 600):
    print(test(num_tasks))

# %% [markdown]
# ## Transductive or not
#
# The paper normalizes the query set of a task by its own statistics (transductive): 25 images of
# the five classes arrive together. An application that gets one image at a time cannot do that.
# The same weights, normalized by the statistics of the support set:

# %%
learner.transductive = False
print(test(600))

# %% [markdown]
# Choose settings on validation classes, and use the test classes once, for the final report.
# [The results](../results.md) have runs of thousands of meta-steps, with their commands.
