# %% [markdown]
# # Tasks of any size
#
# One ward has three patients with a disease and forty with another. One user has seven photographs.
# Tasks differ in their number of classes and in the examples of each. This guide draws such tasks,
# trains on them, and evaluates how accuracy depends on the size. It takes about one CPU minute.

# %%
import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras
import numpy as np

# %% [markdown]
# ## Draw them
#
# Where a data set takes a number, it takes a range. The number of classes is drawn for each task,
# the number of examples for each class.

# %%
SIZES = {"way": (2, 5), "shot": (1, 6), "query": (2, 5)}
PICTURES = {"classes": 200, "image_size": 14}


def glyphs(split, **sizes):
    return ki.data.glyphs(split, **PICTURES, **{**SIZES, **sizes})


for number, (support, query) in enumerate(glyphs("train", seed=0).take(3)):
    (x, y, weights), (_, query_y, query_weights) = support, query
    shots = np.bincount(y[weights > 0])
    queries = np.bincount(query_y[query_weights > 0])
    print(f"task {number}: shots {shots}, queries {queries}, padded to {x.shape[0]} images")

# %% [markdown]
# Sets are padded to the largest possible task. Weights are 1 for real examples and 0 for padding.
# The padded task has the same losses, adapted weights and meta-gradients as the task without
# padding.
#
# Padding costs time. `buckets=4` sorts tasks by size before it makes meta-batches, each padded to
# its own largest task:

# %%
for buckets in (1, 4):
    batches = glyphs("train", seed=0, buckets=buckets).batch(8).take(32)
    weights = [w for batch in batches for _, _, w in batch]
    share = np.sum([np.sum(w) for w in weights]) / np.sum([np.size(w) for w in weights])
    print(f"buckets={buckets}: {100 * share:.0f} % of the examples are real")

# %% [markdown]
# ## Train on them
#
# The head has to serve two classes as well as five. A tied head does: its outputs share their
# meta-learned weights, and those of classes that a task does not have do not count.

# %%
keras.utils.set_random_seed(0)
network = ki.models.Conv4(5, input_shape=(14, 14, 1), filters=16, tied_head=True)
learner = ki.MetaLearner(
    network, ki.IMAML(0.2, ki.inner.GradientDescent(8, learning_rate=0.5)), adapt="head"
)
learner.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
learner.fit(glyphs("train", seed=0, buckets=4).batch(8), steps_per_epoch=200, verbose=0)
print(ki.evaluate(learner, glyphs("test", seed=1).batch(8), num_tasks=400, verbose=0))

# %% [markdown]
# ## Which tasks are hard
#
# The same learner serves every size. More classes make a task harder, more examples easier. A fixed
# number is a range too, and takes what a class has.

# %%
for way in (2, 5):
    for shot in (1, 6):
        tasks = glyphs("test", seed=2, way=way, shot=shot).batch(8)
        evaluation = ki.evaluate(learner, tasks, num_tasks=200, verbose=0)
        print(f"{way} classes, {shot} examples of each: {100 * evaluation.accuracy:.1f} %")

# %% [markdown]
# ## One task
#
# Adapt to the examples that you have; nothing has to be padded. The model predicts no class that
# the task does not have. Pass the weights of a padded set as `sample_weight`.

# %%
(x, y, weights), (query_x, query_y, query_weights) = next(iter(glyphs("test", seed=3)))
present = weights > 0
model = learner.adapt(x[present], y[present])
padded_model = learner.adapt(x, y, sample_weight=weights)
queries = query_x[query_weights > 0]
predictions = model.predict(queries, verbose=0)
difference = np.max(np.abs(predictions - padded_model.predict(queries, verbose=0)))
right = np.mean(np.argmax(predictions, axis=1) == query_y[query_weights > 0])
classes = len(np.unique(y[present]))
print(f"{classes} classes, {100 * right:.0f} % of {len(queries)} queries right")
print(f"predictions with padding differ by less than 1e-4: {difference < 1e-4}")

# %% [markdown]
# ## Your own data
#
# A table of patients: `from_arrays` takes examples and labels, however many of each there are.
# Here rare diseases have three patients.

# %%
rng = np.random.default_rng(0)
patients = np.repeat(np.arange(20), rng.integers(3, 41, 20))  # the disease of each
measurements = (rng.normal(size=(20, 6))[patients] + rng.normal(size=(len(patients), 6))).astype(
    "float32"
)
wards = ki.data.from_arrays(measurements, patients, way=(2, 6), shot=(1, 20), query=5)
(x, y, weights), (_, query_y, query_weights) = next(iter(wards))
print("patients of each disease:", np.bincount(patients))
print("a ward: shots", np.bincount(y[weights > 0]), end=", ")
print("queries", np.bincount(query_y[query_weights > 0]))

# %% [markdown]
# ## More
#
# * [The page on tasks of any size](../tasks-of-any-size.md) has the rules, the limits, and the
#   sampler of Meta-Dataset.
# * [Learned weights](../examples.md#mislabeled-examples-learned-weights) find mislabeled examples.
# * From the command line: `--data.way=2,5 --data.shot=1,6 --data.buckets=4 --model.tied_head`.
