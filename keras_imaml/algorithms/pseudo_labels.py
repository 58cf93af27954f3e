"""Labels that a network guesses for examples without any."""

import tensorflow as tf

_ROUNDS = 50  # of normalization in turns: shares are within a percent for what networks guess


def pseudo_labels(logits: tf.Tensor, temperature: float, balanced: bool) -> tf.Tensor:
    """Probabilities of the classes, sharpened, and constant for every derivative.

    Args:
        logits: `[tasks, examples, ..., classes]`; with axes between, such as one of tokens, each
            place of an example is guessed by itself.
        temperature: What the logits are divided by; below 1, guesses get firmer.
        balanced: Whether each class is to have as many guesses of a task as any other. The
            probabilities are then those nearest to the sharpened ones (by relative entropy) for
            which this holds: optimal transport from examples to classes.

    Returns:
        As `logits`; they sum to 1 for every guess.

    References:
        Lee, 2013; with balance Cuturi, 2013; Asano, Rupprecht and Vedaldi, 2020.
    """
    guess = tf.nn.log_softmax(logits / temperature)
    if balanced:
        whole = tf.shape(guess)
        guess = tf.reshape(guess, [whole[0], -1, whole[-1]])
        shape = tf.shape(guess)
        share = tf.math.log(tf.cast(shape[1], guess.dtype) / tf.cast(shape[2], guess.dtype))
        for _ in range(_ROUNDS):
            guess += share - tf.reduce_logsumexp(guess, axis=1, keepdims=True)
            guess -= tf.reduce_logsumexp(guess, axis=2, keepdims=True)
        guess = tf.ensure_shape(tf.reshape(guess, whole), logits.shape)
    return tf.stop_gradient(tf.exp(guess))


def pseudo_label_losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The cross-entropy between labels and predictions, the mean over all guesses of each task.

    Args:
        labels: Probabilities, `[tasks, examples, ..., classes]`.
        logits: Of the same shape.

    Returns:
        `[tasks]`, in the dtype of `labels`.
    """
    logits = tf.cast(logits, labels.dtype)
    losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses, axis=list(range(1, len(losses.shape))))
