"""What a learner does with one task: adapt, predict, export."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._utils.structures import as_tensors, with_none
from keras_imaml._utils.tracing import TracedByRank
from keras_imaml._utils.validation import check_compiled
from keras_imaml.algorithms import Algorithm
from keras_imaml.export.adapted_model import adapted_model
from keras_imaml.export.saved_model import export_learner
from keras_imaml.inner import InnerSolution
from keras_imaml.learner.classes_of_tasks import leave_out
from keras_imaml.learner.input_checks import check_labels, check_weights
from keras_imaml.learner.mixin import ModelMixin
from keras_imaml.learner.objective_builder import ObjectiveBuilder
from keras_imaml.meta_parameters.parameters import Parameters
from keras_imaml.objectives.learned_loss import LearnedLoss
from keras_imaml.objectives.task_objective import TaskObjective


class TaskAdaptation(ModelMixin):
    """A mixin of `MetaLearner`, which serves single tasks, without a task axis."""

    model: keras.Model
    algorithm: Algorithm
    parameters: Parameters
    learned_loss: LearnedLoss | None
    inner_loss: Any
    transductive: bool
    _objectives: ObjectiveBuilder
    _adaptation: TracedByRank | None  # of `adapt`; None when the learner has changed

    def adapt(
        self,
        support_x: Any,
        support_y: Any = None,
        name: str | None = None,
        unlabelled_x: Any = None,
        sample_weight: Any = None,
    ) -> keras.Model:
        """Adapt to one task.

        Args:
            support_x: Inputs of the support set, `[examples, ...]`.
            support_y: Their targets, `[examples, ...]`; not needed with a learned loss.
            name: The name of the new model. Defaults to the network's name.
            unlabelled_x: Inputs of the task without targets, `[examples, ...]`, which
                `keras_imaml.SelfTraining` needs and no other algorithm takes.
            sample_weight: Weights of the support examples, `[examples]`, as in Keras; an example
                of weight 0 is not there. Defaults to `None`: all have the weight 1.

        Returns:
            A plain Keras model with the adapted weights, independent of this learner: no layer of
            this package is left in it. `TaskBatchNormalization` has become `BatchNormalization`
            with the statistics of the support set.
        """
        phi = self.adapt_weights(support_x, support_y, unlabelled_x, sample_weight)
        classes = self._objectives.classes_of(support_y, sample_weight)
        if sample_weight is not None:
            present = np.asarray(sample_weight) > 0
            given = as_tensors(support_x, "support_x")
            support_x = with_none(tf.nest.map_structure(lambda x: x[present], given))
        adapted = adapted_model(self.model, self.parameters, phi, support_x, name)
        if classes is not None:
            leave_out(adapted, self.model, classes)
        return adapted

    def adapt_weights(
        self,
        support_x: Any,
        support_y: Any = None,
        unlabelled_x: Any = None,
        sample_weight: Any = None,
    ) -> tf.Tensor:
        """The adapted weights for one task, flat: `[size]`.

        Args:
            support_x: Inputs of the support set, `[examples, ...]`.
            support_y: Their targets, `[examples, ...]`; not needed with a learned loss.
            unlabelled_x: As for `adapt`.
            sample_weight: As for `adapt`.

        Raises:
            ValueError: If the inner loop diverges, labels are missing, or unlabeled inputs are
                missing or not looked at.
        """
        check_compiled(self, "adapt")
        self.parameters.check_unchanged()
        if support_y is None:
            if self.learned_loss is None:
                raise ValueError(
                    "Invalid value for `support_y`. Expected the targets of the support set: only "
                    "a learner with learned_loss=... adapts without. Received: support_y=None"
                )
            support_y = ()
        if unlabelled_x is None:
            unlabelled_x = ()
        elif not self.algorithm.adapts_to_queries:
            raise ValueError(
                "Invalid value for `unlabelled_x`. Expected None: only a learner with "
                "keras_imaml.SelfTraining(...) adapts to inputs without targets. Received: "
                f"unlabelled_x with algorithm={self.algorithm!r}"
            )
        weights = () if sample_weight is None else check_weights(sample_weight)
        parts = (
            as_tensors(support_x, "support_x"),
            as_tensors(support_y, "support_y"),
            as_tensors(unlabelled_x, "unlabelled_x"),
            weights,
        )
        if self.learned_loss is None:
            check_labels(self.model, self.inner_loss, parts[1], weights)
        if self._adaptation is None:
            self._adaptation = TracedByRank(self._adapt_one)
        try:
            phi, valid = self._adaptation(*parts)
        except tf.errors.InvalidArgumentError:
            self._single(*parts)  # says which part does not fit, if it is that
            raise
        if not bool(valid):
            raise ValueError(
                "The adaptation to this task diverged: its weights or inputs are NaN or infinite, "
                "or the inner loop raised the support loss more than tenfold. "
                "Look at the inputs, lower the inner learning rate, or raise `proximal_strength`."
            )
        return phi

    def adapt_and_predict(
        self, support_x: Any, support_y: Any, query_x: Any, sample_weight: Any = None
    ) -> Any:
        """Adapt to one task and predict its query set, in one graph.

        Args:
            support_x: Inputs of the support set, `[examples, ...]`.
            support_y: Their targets.
            query_x: Inputs of the query set, `[queries, ...]`.
            sample_weight: As for `adapt`.

        Returns:
            The network's outputs for the query set, `[queries, ...]`; NaN if the inner loop
            diverged, or the task holds NaN or infinity.
        """
        return self.solve(support_x, support_y, query_x, sample_weight)[1]

    def solve(
        self, support_x: Any, support_y: Any, query_x: Any, sample_weight: Any = None
    ) -> tuple[InnerSolution, Any]:
        """As `adapt_and_predict`, and how the inner problem was solved.

        Returns:
            The `keras_imaml.inner.InnerSolution` of a meta-batch of this one task, and the
            outputs for the query set. `valid` says whether all of the task is finite; if it is
            not, the outputs are NaN.
        """
        check_compiled(self, "adapt_and_predict")
        if support_y is None:
            raise ValueError(
                "Invalid value for `support_y`. Expected the targets of the support set (or `()` "
                "with a learned loss, which needs none). Received: support_y=None"
            )
        if self.learned_loss is None and tf.executing_eagerly():
            labels = as_tensors(support_y, "support_y")
            check_labels(self.model, self.inner_loss, labels, sample_weight)
        weights = () if sample_weight is None else check_weights(sample_weight)
        objective = self._single(support_x, support_y, query_x, weights)
        solution = self.algorithm.adapt(objective)
        valid = solution.valid & objective.valid
        outputs = keras.tree.map_structure(
            lambda z: z[0] * _one_or_nan(valid[0], z.dtype) if z.dtype.is_floating else z[0],
            objective.query(solution.phi).outputs,
        )
        return solution._replace(valid=valid), outputs

    def export(
        self,
        filepath: str,
        format: str = "tf_saved_model",  # noqa: A002
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write a SavedModel that adapts; see `keras_imaml.export.saved_model.export_learner`."""
        export_learner(self, filepath, format, verbose, input_signature, **kwargs)

    def _single(
        self, support_x: Any, support_y: Any, query_x: Any, weights: Any = ()
    ) -> TaskObjective:
        return self._objectives.single(support_x, support_y, query_x, self.transductive, weights)

    def _adapt_one(
        self, support_x: Any, support_y: Any, unlabelled_x: Any, weights: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        objective = self._single(support_x, support_y, unlabelled_x, weights)
        adapted = self.algorithm.adapt(objective)
        return adapted.phi[0], (adapted.valid & objective.valid)[0]


def _one_or_nan(valid: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """1, or 0 / 0: a constant NaN would stop `tf.debugging.enable_check_numerics`."""
    truth = tf.cast(valid, dtype)
    return truth / truth
