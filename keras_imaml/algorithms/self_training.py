"""Adapt to the unlabeled queries of a task as well."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.keras_losses import CROSS_ENTROPIES, loss_name, takes_logits
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml.algorithms.algorithm import Algorithm, MetaGradient
from keras_imaml.algorithms.imaml import IMAML
from keras_imaml.algorithms.maml import MAML
from keras_imaml.algorithms.pseudo_labels import WithPseudoLabels, pseudo_labels
from keras_imaml.inner import InnerSolution
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.task_objective import TaskObjective


@keras.saving.register_keras_serializable(package="keras_imaml")
class SelfTraining(Algorithm):
    """Let an algorithm also adapt to the queries of a task, by pseudo-labels.

    In each round the inner problem is solved, the network predicts labels `q` of the queries, and
    the inner objective becomes

    `G(phi) = Lhat(phi) + cross-entropy(q, queries at phi) + lambda/2 ||phi - theta||^2`.

    Predictions then depend on the other queries of the task, and improve with their number. The
    true labels of queries are not used. The meta-gradient treats pseudo-labels as constants. The
    weights are those of the wrapped algorithm: a learner that was trained without self-training
    may be evaluated with it, and vice versa.

    Args:
        algorithm: A `keras_imaml.IMAML` or `keras_imaml.MAML`.
        rounds: Number of times that labels are predicted. Defaults to `8`.
        temperature: Divisor of the logits for pseudo-labels. At 1 they are too soft to change
            much; low values fix errors early. Defaults to `0.5`.
        balanced: Whether all classes are known to have equally many queries, as in most
            benchmarks. This helps much, but harms if it is not true. Defaults to `False`.

    Example:

    ```python
    algorithm = ki.SelfTraining(ki.IMAML(1.0), balanced=True)
    learner = ki.MetaLearner(ki.models.Conv4(5, filters=8), algorithm)
    learner.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    (support_x, support_y), (query_x, query_y) = next(iter(ki.data.glyphs("test")))
    logits = learner.adapt_and_predict(support_x, support_y, query_x)
    ```

    References:
        Lee, 2013 (pseudo-labels); Dhillon et al., 2020 (transductive fine-tuning); Veilleux et
        al., 2021 (on balanced queries).
    """

    adapts_to_queries = True

    def __init__(
        self,
        algorithm: Algorithm,
        rounds: int = 8,
        temperature: float = 0.5,
        balanced: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(algorithm, (IMAML, MAML)):
            raise ValueError(
                "Invalid value for `algorithm`. Expected a keras_imaml.IMAML or keras_imaml.MAML, "
                f"whose training adapts to support sets. Received: algorithm={algorithm!r}"
            )
        self.algorithm = algorithm
        self.inner = algorithm.inner
        self.diagnostics = algorithm.diagnostics
        self.rounds = check_integer("rounds", rounds, minimum=1)
        self.temperature = check_number("temperature", temperature, minimum=0.0, exclusive=True)
        self.balanced = bool(balanced)

    @property
    def differentiates_twice(self) -> bool:
        """See `Algorithm.differentiates_twice`."""
        return self.algorithm.differentiates_twice

    @property
    def in_use(self) -> bool:
        """See `Algorithm.in_use`."""
        return self.algorithm.in_use

    @property
    def proximal_strength(self) -> Any:
        """The proximal strength of the algorithm."""
        return self.algorithm.proximal_strength

    @property
    def learning_rate(self) -> Any:  # type: ignore[override]  # others set it in `prepare`
        """The step size of the inner solver, if it may be learned."""
        return self.algorithm.learning_rate

    def check_loss(self, loss: Any) -> None:
        """See `Algorithm.check_loss`: pseudo-labels are classes."""
        if loss_name(loss) not in CROSS_ENTROPIES or not takes_logits(loss):
            raise ValueError(
                "Invalid value for `loss`. Expected keras.losses.SparseCategoricalCrossentropy("
                "from_logits=True) or another cross-entropy of the logits of several classes: "
                f"keras_imaml.SelfTraining guesses a class for each query. Received: loss={loss!r}"
            )
        self.algorithm.check_loss(loss)

    def check_learned_loss(self) -> None:
        """See `Algorithm.check_learned_loss`."""
        raise ValueError(
            "Invalid value for `learned_loss`. Expected None with keras_imaml.SelfTraining, which "
            "adapts by the cross-entropy with guessed labels."
        )

    def prepare(self, parameters: Parameters) -> None:
        """See `Algorithm.prepare`."""
        self.algorithm.prepare(parameters)
        self.parameters = parameters
        self.built = True

    def strength(self) -> tf.Tensor:
        """See `Algorithm.strength`."""
        return self.algorithm.strength()

    def adapt(self, objective: TaskObjective) -> InnerSolution:
        """See `Algorithm.adapt`: the solution after the last round."""
        return self.algorithm.adapt(self.with_predicted_labels(objective))

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        return self.algorithm.meta_gradient(self.with_predicted_labels(objective), variables)

    def with_predicted_labels(self, objective: TaskObjective) -> TaskObjective:
        """The objective with the pseudo-labels of the last round for the queries."""
        if not tf.nest.flatten(objective.tasks.query_x):
            raise ValueError(
                "keras_imaml.SelfTraining adapts to unlabeled examples of the task as well. Give "
                "them to `learner.adapt` as `unlabelled_x`, or use `learner.adapt_and_predict`."
            )

        def predict(adapting_to: TaskObjective) -> tf.Tensor:
            outputs = objective.query(self.algorithm.adapt(adapting_to).phi).outputs
            logits = tf.cast(outputs, objective.dtype)
            present, classes = objective.tasks.present(query=True), objective.tasks.classes
            return pseudo_labels(logits, self.temperature, self.balanced, present, classes)

        initial_labels = predict(objective)
        _, labels = tf.while_loop(
            lambda count, labels: count < self.rounds,
            lambda count, labels: (
                count + 1,
                tf.ensure_shape(predict(WithPseudoLabels(objective, labels)), initial_labels.shape),
            ),
            (tf.constant(1), initial_labels),
        )
        return WithPseudoLabels(objective, tf.stop_gradient(labels))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        del config["inner"]  # the algorithm holds it
        return {
            **config,
            "algorithm": keras.saving.serialize_keras_object(self.algorithm),
            "rounds": self.rounds,
            "temperature": self.temperature,
            "balanced": self.balanced,
        }
