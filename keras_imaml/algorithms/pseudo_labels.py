"""Labels that a network predicts for unlabeled examples, and adaptation to them."""

from typing import Any

import tensorflow as tf

from keras_imaml._utils.weights import mean_over_present
from keras_imaml.batching import NetworkOutputs
from keras_imaml.objectives.task_objective import TaskObjective
from keras_imaml.objectives.tasks import Tasks, clear, slice_tasks

_ROUNDS = 50  # alternating normalizations; shares are then within a percent of balanced


def pseudo_labels(
    logits: tf.Tensor,
    temperature: float,
    balanced: bool,
    present: tf.Tensor | None = None,
    classes: Any = (),
) -> tf.Tensor:
    """Probabilities of the classes, sharpened, and constant for every derivative.

    Args:
        logits: `[tasks, examples, ..., classes]`; with axes between, such as one of tokens, each
            position of an example gets its own label.
        temperature: Divisor of the logits. Below 1, the labels are more confident.
        balanced: Whether all classes get equal shares of the labels of a task. The result is then
            the balanced distribution nearest to the sharpened one by relative entropy, which is
            optimal transport from examples to classes.
        present: `[tasks, examples]`, bool: the examples that are there, and share the classes.
            Defaults to `None`: all of them.
        classes: `[tasks]`, the number of classes of each task. Defaults to `()`: all.

    Returns:
        The shape of `logits`; the probabilities of each label sum to 1.

    References:
        Lee, 2013; with balance Cuturi, 2013; Asano, Rupprecht and Vedaldi, 2020.
    """
    log_labels = tf.nn.log_softmax(logits / temperature)
    if balanced:
        full_shape = tf.shape(log_labels)
        log_labels = tf.reshape(log_labels, [full_shape[0], -1, full_shape[-1]])
        shape = tf.shape(log_labels)
        count = tf.cast(shape[1], log_labels.dtype)
        counted = tf.zeros([], log_labels.dtype)  # minus infinity where nothing is counted
        if present is not None:
            positions = shape[1] // full_shape[1]
            rows = tf.repeat(present, positions, axis=1)[..., None]
            counted = tf.math.log(tf.cast(rows, log_labels.dtype))
            count = tf.reduce_sum(tf.cast(rows, log_labels.dtype), axis=1, keepdims=True)
        in_task = tf.ones([], tf.bool)
        sharing = tf.cast(shape[2], log_labels.dtype)
        if tf.is_tensor(classes):
            in_task = tf.sequence_mask(classes, shape[2])[:, None]
            sharing = tf.cast(classes, log_labels.dtype)[:, None, None]
        share = tf.math.log(count / sharing)
        for _ in range(_ROUNDS):
            of_class = tf.reduce_logsumexp(log_labels + counted, axis=1, keepdims=True)
            log_labels += tf.where(in_task, share - of_class, 0.0)
            log_labels -= tf.reduce_logsumexp(log_labels, axis=2, keepdims=True)
        log_labels = tf.ensure_shape(tf.reshape(log_labels, full_shape), logits.shape)
    return tf.stop_gradient(tf.exp(log_labels))


def pseudo_label_losses(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """The cross-entropy between labels and predictions, averaged over the labels of each task.

    Args:
        labels: Probabilities, `[tasks, examples, ..., classes]`.
        logits: The predictions, of the same shape.
        weights: `[tasks, examples]`, 0 where there is no example. Defaults to `None`: all are
            there.

    Returns:
        `[tasks]`, in the dtype of `labels`.
    """
    logits = tf.cast(logits, labels.dtype)
    losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    if weights is None:
        return tf.reduce_mean(losses, axis=list(range(1, len(losses.shape))))
    each = tf.reduce_mean(losses, axis=list(range(2, len(losses.shape))))
    return mean_over_present(each, weights)


class WithPseudoLabels(TaskObjective):
    """An objective whose tasks also adapt to their queries, by the cross-entropy with labels.

    Args:
        objective: The objective of the labeled support sets.
        labels: Probabilities of the classes of queries, `[tasks, queries, ..., classes]`.
    """

    wrapped: TaskObjective
    labels: tf.Tensor

    def __init__(self, objective: TaskObjective, labels: tf.Tensor) -> None:
        self.__dict__.update(vars(objective), wrapped=objective, labels=labels)

    @property
    def trunk_outputs(self) -> list[tf.Tensor]:
        """See `TaskObjective.trunk_outputs`."""
        return self.wrapped.trunk_outputs

    def on(self, tasks: Tasks) -> "WithPseudoLabels":
        """See `TaskObjective.on`: the tasks keep their labels."""
        return WithPseudoLabels(self.wrapped.on(tasks), self.labels)

    def part(self, first: int | tf.Tensor, count: int) -> "WithPseudoLabels":
        """See `TaskObjective.part`."""
        labels = slice_tasks(self.labels, first, count)
        return WithPseudoLabels(self.wrapped.part(first, count), labels)

    def without(self, invalid: tf.Tensor) -> "WithPseudoLabels":
        """See `TaskObjective.without`."""
        return WithPseudoLabels(self.wrapped.without(invalid), clear(self.labels, ~invalid))

    def support(self, phi: tf.Tensor) -> NetworkOutputs:
        """See `TaskObjective.support`: outputs are pairs, of the support set and the queries."""
        support, query = super().support(phi), self.query(phi)
        return support._replace(outputs=(support.outputs, query.outputs))

    def support_loss_of(self, outputs: Any) -> tf.Tensor:
        """See `TaskObjective.support_loss_of`."""
        of_support, of_queries = outputs
        weights = self.tasks.query_weights if tf.is_tensor(self.tasks.query_weights) else None
        of_queries = pseudo_label_losses(self.labels, of_queries, weights)
        return super().support_loss_of(of_support) + of_queries
