"""A learned adaptation loss: tasks adapt by it to unlabeled support inputs (DAML)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._compat.keras_graph import nodes_of
from keras_imaml._utils.configurable import ShownAsCall
from keras_imaml._utils.weights import mean_over_present


@keras.saving.register_keras_serializable(package="keras_imaml")
class LearnedLoss(ShownAsCall, keras.layers.Layer):
    """The inner loss as a network with meta-learned weights psi, fed by activations.

    In place of a loss against labels, a task adapts by

        L_psi(phi; x) = mean over the examples x of || h_psi(activations under phi at x) ||^2 .

    It sees the support inputs alone. The outer level trains psi together with theta, so that
    adapting by L_psi lowers the supervised loss of the query set. psi is a meta-parameter like any
    other: `keras_imaml.IMAML` differentiates by the implicit rule, `keras_imaml.MAML` through the
    inner steps. For an example of one input, labels may be left out: `support_y` is not read.

    Args:
        network: h_psi: a Keras model or layer from `[examples, ...]` to `[examples, ..., outputs]`.
            Its weights do not adapt to a task.
        features: The layers of the adapting network whose outputs h_psi sees, by name, joined
            along the last axis. The network must be Sequential or functional, and call each of
            them once. Defaults to `None`: its output.

    Example:

    ```python
    learner = ki.MetaLearner(
        ki.models.MLP(1, hidden=(32, 32)),
        ki.MAML(ki.inner.GradientDescent(steps=5, learning_rate=0.03)),
        learned_loss=ki.LearnedLoss(
            ki.models.MLP(8, input_shape=(65,), hidden=(32, 32)),
            features=["hidden_1", "hidden_2", "head"],
        ),
    )
    learner.compile(optimizer="adam", loss="mse")
    tasks = ki.data.unlabelled_sinusoid("train").batch(16)
    learner.fit(tasks, steps_per_epoch=100)
    (support_x, _), (query_x, query_y) = next(iter(tasks.unbatch()))
    model = learner.adapt(support_x)             # no labels
    ```

    References:
        Yu, Finn et al.: One-Shot Imitation from Observing Humans via Domain-Adaptive
        Meta-Learning, 2018.
    """

    def __init__(
        self, network: keras.layers.Layer, features: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise ValueError(
                "Invalid value for `network`. Expected a Keras model or layer. "
                f"Received: network={network!r}"
            )
        if isinstance(features, str) or (features is not None and not features):
            raise ValueError(
                "Invalid value for `features`. Expected a list of layer names, or None for the "
                f"network's output. Received: features={features!r}"
            )
        self.network = network
        self.features = None if features is None else list(features)

    def prepare(self, model: keras.Model) -> keras.Model:
        """From the inputs of `model` to h_psi, sharing the layers of both; builds h_psi."""
        if not getattr(model, "inputs", None):
            raise ValueError(
                "Invalid value for `model`. Expected a Sequential or functional model with "
                "learned_loss=..., which reads the outputs of its layers. "
                f"Received: {type(model).__name__}"
            )
        activations = self._activations(model)
        joined = (
            activations[0] if len(activations) == 1 else keras.ops.concatenate(activations, axis=-1)
        )
        residual = self.network(joined)
        self.built = True
        return keras.Model(model.inputs, residual, name=f"{model.name}_learned_loss")

    def value(self, residual: Any, weights: tf.Tensor | None = None) -> tf.Tensor:
        """The loss from the outputs of h_psi: a scalar.

        Args:
            residual: `[examples, ..., outputs]`.
            weights: `[examples]`, 0 where there is no example. Defaults to `None`: all are there.
        """
        squares = tf.reduce_sum(tf.square(residual), axis=-1)
        if weights is None:
            return tf.reduce_mean(squares)
        each = tf.reduce_mean(squares, axis=list(range(1, squares.shape.rank)))
        return mean_over_present(each, weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "features": self.features,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearnedLoss":
        """The inverse of `get_config`."""
        return cls(
            **{**config, "network": keras.saving.deserialize_keras_object(config["network"])}
        )

    def _activations(self, model: keras.Model) -> list[Any]:
        if self.features is None:
            return list(model.outputs)
        layers = {layer.name: layer for layer in model.layers}
        unknown_names = [name for name in self.features if name not in layers]
        if unknown_names:
            raise ValueError(
                "Invalid value for `features`. Expected names of the network's layers, which are "
                f"{list(layers)}. Received: {unknown_names}"
            )
        # Other models may call the same layer: count its calls in this model only.
        calls: dict[str, list[Any]] = {name: [] for name in self.features}
        for node in nodes_of(model) or ():
            if node.operation.name in calls:
                calls[node.operation.name] += node.outputs
        repeated_names = [name for name, outputs in calls.items() if len(outputs) > 1]
        if repeated_names:
            raise ValueError(
                "Invalid value for `features`. Expected layers with one output, which the network "
                f"calls once. Received: {repeated_names}"
            )
        return [(calls[name] or [layers[name].output])[0] for name in self.features]
