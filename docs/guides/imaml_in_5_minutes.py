# %% [markdown]
# # iMAML in 5 minutes
#
# Few-shot learning asks for a network that learns a new task from a handful of examples. Implicit
# MAML looks for weights theta from which that works:
#
#     inner level   phi = argmin  support loss(phi) + lambda/2 ‖phi − theta‖²
#     outer level   theta moves so that the query loss at phi falls
#
# The gradient of the outer level needs only the solution phi, not the steps that led to it. This
# guide trains such weights on characters of invented alphabets, which are drawn as needed: there
# is nothing to download. It takes one to three minutes on two CPU cores.

# %%
import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras

ki.parallel_tasks()  # before any computation: each CPU core works on its own tasks
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Tasks
#
# A task, or episode, has a support set to learn from and a query set to be judged by. Here a task
# is to classify 5 characters after one drawing of each (5-way 1-shot). The classes of `"train"` and
# `"test"` are disjoint. `.batch(16)` puts 16 tasks in one meta-step.

# %%
tasks = ki.data.glyphs("train", way=5, shot=1, query=5, seed=0).batch(16)
(support_x, support_y), (query_x, query_y) = next(iter(tasks))
print("support", support_x.shape, support_y.shape)
print("query  ", query_x.shape, query_y.shape)

# %% [markdown]
# ## The learner
#
# Any built Keras model can adapt. `Conv4` is the network of the few-shot literature, here with 32
# filters. `IMAML` holds lambda and the inner solver. `MetaLearner` is a `keras.Model`, with the
# `compile` and `fit` that you know.

# %%
learner = ki.MetaLearner(
    ki.models.Conv4(5, filters=32),
    ki.IMAML(
        proximal_strength=0.2,
        inner=ki.inner.GradientDescent(steps=8, learning_rate=0.3),
    ),
)
learner.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = learner.fit(tasks, steps_per_epoch=50, epochs=3, verbose=2)

# %% [markdown]
# The accuracy in the log is that of the query sets after adaptation. The diagnostics say whether
# the equations were solved: how much of the inner gradient is left (`inner_residual`), and how much
# of the linear system (`linear_residual`). Below 0.1 is good. Above it, try more steps or a larger
# lambda. The times above come from a busy machine;
# [performance](../performance.md) has times from an idle one.

# %%
for name in ("inner_residual", "linear_residual", "first_order_cosine", "bad_tasks"):
    print(f"{name:20}", " ".join(f"{value:.3f}" for value in history.history[name]))

# %% [markdown]
# ## On new classes

# %%
test_tasks = ki.data.glyphs("test", way=5, shot=1, query=5, seed=1).batch(16)
result = ki.evaluate(learner, test_tasks, num_tasks=304, verbose=False)
print(f"guessing 20 %, without adaptation {100 * result.accuracy_before:.1f} %")
print(result)

# %% [markdown]
# These are 150 meta-steps. `make train` runs 600 and ends at 92 %: see [the
# results](../results.md).
#
# ## One task
#
# `adapt` returns a plain `keras.Model` of one task, without a trace of meta-learning in it.

# %%
(support_x, support_y), (query_x, query_y) = next(iter(test_tasks.unbatch()))
model = learner.adapt(support_x, support_y)
predicted = keras.ops.argmax(model(query_x), axis=-1)
print("classes  ", query_y.numpy())
print("predicted", keras.ops.convert_to_numpy(predicted))

# %% [markdown]
# ## Where to go next
#
# * [Your own images](your_own_images.ipynb).
# * [Evaluate properly on Omniglot](omniglot_honestly.ipynb).
# * [How to choose](../how-to-choose.md) an algorithm, a solver and lambda.
# * [Equation to code](../equation-to-code.md): what `fit` computes, line by line.
