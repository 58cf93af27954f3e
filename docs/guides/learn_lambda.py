# %% [markdown]
# # Learn lambda
#
# lambda says how firmly the adapted weights are held near theta. It need not be one number, and it
# need not be guessed. The implicit rule that gives the meta-gradient for theta gives the one for
# lambda:
#
#     dL/dlambda = −(phi − theta)·w,        (H + lambda I) w = ∇ query loss
#
# There may be one lambda for the model, per layer, or per weight. Its logarithm is learned, so it
# stays positive. This guide fits sine waves from 10 points, and takes about one CPU minute.

# %%
import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras


def train(strength):
    keras.utils.set_random_seed(0)
    learner = ki.MetaLearner(
        ki.models.MLP(1, hidden=(40, 40)),
        ki.IMAML(proximal_strength=strength, inner=ki.inner.NewtonCG(steps=4)),
    )
    learner.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
    tasks = ki.data.sinusoid("train", shot=10, query=10, seed=0).batch(16)
    learner.fit(tasks, steps_per_epoch=400, verbose=0)
    return learner


def test(learner):
    tasks = ki.data.sinusoid("test", shot=10, query=10, seed=1).batch(20)
    return ki.evaluate(learner, tasks, num_tasks=400, verbose=False)


# %% [markdown]
# ## Fixed
#
# Two guesses, one a hundred times the other.

# %%
for value in (10.0, 0.1):
    print(f"lambda {value}: {test(train(value))}")

# %% [markdown]
# ## Learned per layer
#
# From the same two guesses, with everything else the same:

# %%
for value in (10.0, 0.1):
    strength = ki.ProximalStrength(value, per="layer", learned=True)
    learner = train(strength)
    print(f"lambda learned from {value}: {test(learner)}")
    learned = keras.ops.convert_to_numpy(keras.ops.exp(strength.logarithm))
    for group, number in zip(learner.parameters.groups, learned, strict=True):
        print(f"  {group.name:10} {number:.3g}")

# %% [markdown]
# In this short run the start decides: each lambda stays near its guess, and the loss from 10 stays
# lower. The outer optimizer moves the logarithm by about its learning rate per step, here 3e-3, so
# start a short run close to a good value. There is one seed each; the intervals are over tasks.

# %% [markdown]
# ## What to watch
#
# * `proximal_strength` in the history is the mean over the weights.
# * `linear_residual` and `inner_residual` rise when lambda is too small for the solvers. The
#   gradients for lambda and theta are then wrong.
# * `per="weight"` learns as many numbers as the network has weights.
# * From the command line: `--learn_proximal_strength --proximal_per=layer`.
# * [How to choose](../how-to-choose.md#which-lambda) has numbers for Omniglot.
