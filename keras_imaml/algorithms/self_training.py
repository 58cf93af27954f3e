"""Adapt to the unlabeled queries of a task, too."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_imaml._utils.keras_losses import CROSS_ENTROPIES, loss_name, takes_logits
from keras_imaml._utils.validation import check_integer, check_number
from keras_imaml.algorithms.algorithm import Algorithm, MetaGradient
from keras_imaml.algorithms.imaml import IMAML
from keras_imaml.algorithms.maml import MAML
from keras_imaml.algorithms.pseudo_labels import pseudo_label_losses, pseudo_labels
from keras_imaml.inner import InnerSolution
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.task_objective import TaskObjective


@keras.saving.register_keras_serializable(package="keras_imaml")
class SelfTraining(Algorithm):
    """Let an algorithm adapt to the queries of a task, by labels that the network guesses.

    In each round the inner problem is solved, the network guesses the labels `q` of the queries,
    and the inner objective becomes

    `G(phi) = Lhat(phi) + cross-entropy(q, queries at phi) + lambda/2 ||phi - theta||^2`.

    Predictions then depend on the other queries of the task, and are better the more of them there
    are. Their true labels are not looked at. Guesses are constants to the meta-gradient. The
    weights are those of the algorithm itself: a learner that was trained without may be evaluated
    with it, and the other way round.

    Args:
        algorithm: A `keras_imaml.IMAML` or `keras_imaml.MAML`.
        rounds: How often labels are guessed. Defaults to `8`.
        temperature: What logits are divided by for a guess; 1 is too soft to change much, and the
            firmer it is, the sooner errors stay. Defaults to `0.5`.
        balanced: Whether it is known that each class has as many queries as any other, as in
            most benchmarks. It helps much, and harms where it does not hold. Defaults to `False`.

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
        """That of the algorithm."""
        return self.algorithm.proximal_strength

    @property
    def learning_rate(self) -> Any:  # type: ignore[override]  # others set it in `prepare`
        """The step size of the inner solver, if it may be learned."""
        return self.algorithm.learning_rate

    def check_loss(self, loss: Any) -> None:
        """See `Algorithm.check_loss`: guesses are of classes."""
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
        """See `Algorithm.adapt`: the solution after the last guess."""
        return self.algorithm.adapt(self.guessed(objective))

    def meta_gradient(self, objective: TaskObjective, variables: Sequence[Any]) -> MetaGradient:
        """See `Algorithm.meta_gradient`."""
        return self.algorithm.meta_gradient(self.guessed(objective), variables)

    def guessed(self, objective: TaskObjective) -> TaskObjective:
        """The objective with the labels that the last round has guessed for the queries."""
        if not tf.nest.flatten(objective.tasks.query_x):
            raise ValueError(
                "keras_imaml.SelfTraining adapts to unlabeled examples of the task as well. Give "
                "them to `learner.adapt` as `unlabelled_x`, or use `learner.adapt_and_predict`."
            )

        def with_labels(labels: tf.Tensor) -> TaskObjective:
            return objective.with_pseudo_labels(labels, pseudo_label_losses)

        def guess(adapting_to: TaskObjective) -> tf.Tensor:
            outputs = objective.query(self.algorithm.adapt(adapting_to).phi).outputs
            logits = tf.cast(outputs, objective.dtype)
            return pseudo_labels(logits, self.temperature, self.balanced)

        first = guess(objective)
        _, labels = tf.while_loop(
            lambda done, labels: done < self.rounds,
            lambda done, labels: (
                done + 1,
                tf.ensure_shape(guess(with_labels(labels)), first.shape),
            ),
            (tf.constant(1), first),
        )
        return with_labels(tf.stop_gradient(labels))

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
