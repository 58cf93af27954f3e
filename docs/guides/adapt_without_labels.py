# %% [markdown]
# # DAML: adapt without labels
#
# Sometimes a new task comes without labels. Domain-adaptive meta-learning (Yu, Finn et al.,
# 2018) learns the loss to adapt by. A small network h_psi reads the activations of the adapting
# network on the support inputs, and gives the loss:
#
#     L_psi(phi; x) = mean ‖ h_psi(activations under phi at x) ‖²
#
# In training, labels of the query sets teach psi and theta together, so that a step on L_psi
# lowers the supervised loss. Afterwards no labels are needed.
#
# The task here is `y = sin(x)` or `y = −sin(x)`. The support inputs have no labels, but they lie
# right of zero for the first and left of zero for the second. Without adaptation, the best
# prediction is `y = 0`, a mean squared error of 0.5.

# %%
import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras

keras.utils.set_random_seed(0)
tasks = ki.data.unlabelled_sinusoid("train", shot=5, query=10, seed=0).batch(16)
test_tasks = ki.data.unlabelled_sinusoid("test", shot=5, query=10, seed=1).batch(20)

# %% [markdown]
# ## A learner with a learned loss
#
# h_psi reads both hidden layers and the output: 32 + 32 + 1 numbers per example.


# %%
def learner_with(algorithm):
    return ki.MetaLearner(
        ki.models.MLP(1, hidden=(32, 32)),
        algorithm,
        learned_loss=ki.LearnedLoss(
            ki.models.MLP(8, input_shape=(65,), hidden=(32, 32)),
            features=["hidden_1", "hidden_2", "head"],
        ),
    )


learner = learner_with(ki.MAML(ki.inner.GradientDescent(steps=5, learning_rate=0.03)))
learner.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
learner.fit(tasks, steps_per_epoch=500, epochs=2, verbose=2)
result = ki.evaluate(learner, test_tasks, num_tasks=400, verbose=False)
print(result)

# %% [markdown]
# ## Adapt
#
# The same network, adapted to five unlabeled inputs on either side:

# %%
support_right = keras.ops.reshape(keras.ops.linspace(0.9, 1.5, 5), (5, 1))
x = keras.ops.reshape(keras.ops.linspace(-3.0, 3.0, 7), (7, 1))
for name, support in (("right", support_right), ("left", -support_right)):
    model = learner.adapt(support)  # no labels
    print(f"{name:5}", " ".join(f"{float(y):6.2f}" for y in model(x)[:, 0]))
print("sin  ", " ".join(f"{float(y):6.2f}" for y in keras.ops.sin(x)[:, 0]))

# %% [markdown]
# ## By the implicit rule
#
# psi is a meta-parameter like any other, so `IMAML` learns it too, without keeping the path. The
# residuals of a learned loss do not vanish, so use the exact Hessian (see
# [how to choose](../how-to-choose.md#which-curvature)):
#
#     ki.IMAML(proximal_strength=..., curvature="hessian", inner=...)
#
# [The results](../results.md#every-algorithm-on-sine-waves-and-glyphs) have both, after 3000
# meta-steps.
