# %% [markdown]
# # Learn lambda
#
# lambda says how firmly the adapted weights are held near theta. It need not be one number, and it
# need not be guessed: at the inner solution the same implicit rule that gives the meta-gradient
# for theta gives the one for lambda,
#
#     dL/dlambda = −(phi − theta)·w,        (H + lambda I) w = ∇ query loss
#
# one number for the model, for each layer, or for each weight. It is learned as its logarithm, so
# that it stays positive. The guide fits sine waves from 10 points; it takes about a minute of
# processor time.

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
# Two guesses, of which one is a hundred times the other.

# %%
for value in (10.0, 0.1):
    print(f"lambda {value}: {test(train(value))}")

# %% [markdown]
# ## Learned, one a layer
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
# One seed each: the intervals are over tasks, and say nothing of other seeds. How far lambda comes
# from its start is a matter of steps, too: the outer optimizer moves its logarithm by about its
# learning rate a step, here 3e-3, so a run that is short should not start far off.

# %% [markdown]
# ## What to look at
#
# * `proximal_strength` in the history is the mean over the weights; `linear_residual` and
#   `inner_residual` rise when lambda falls so far that the solvers no longer reach their solution.
#   The gradient for lambda is then off, and so is the rest.
# * `per="weight"` has as many numbers as the network has weights.
# * From the command line: `--learn_proximal_strength --proximal_per=layer`.
# * [How to choose](../how-to-choose.md#which-lambda) has figures for Omniglot.
