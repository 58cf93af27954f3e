"""The optimizers of the outer level, as components of a run."""

import keras

from keras_imaml._utils.validation import check_choice, check_number


def adam(
    learning_rate: float = 3e-3,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    weight_decay: float | None = None,
    schedule: str = "constant",
    steps: int = 1,
) -> keras.optimizers.Optimizer:
    """Adam, with a schedule over the run.

    Args:
        learning_rate: Learning rate at the start. Defaults to `3e-3`.
        epsilon: Added to the root of the mean squared gradient.
        clip_norm: Largest norm of a meta-gradient. Defaults to `None`: any.
        weight_decay: Share of the kernels that a meta-step takes off, times the learning rate
            (AdamW). Defaults to `None`: nothing.
        schedule: `"constant"`, or `"cosine"`: down to 0 at the end of the run.
        steps: Meta-steps of the run.
    """
    check_number("learning_rate", learning_rate, minimum=0.0, exclusive=True)
    check_number("epsilon", epsilon, minimum=0.0)
    check_number("clip_norm", clip_norm or 0.0, minimum=0.0)
    check_number("weight_decay", weight_decay or 0.0, minimum=0.0)
    check_choice("schedule", schedule, ("constant", "cosine"))
    rate = learning_rate
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=max(steps, 1))
    return keras.optimizers.Adam(
        rate,
        epsilon=epsilon,
        global_clipnorm=clip_norm or None,
        weight_decay=weight_decay or None,
    )
