"""The optimizers of the outer level, as components of a run."""

import keras


def adam(
    learning_rate: float = 1e-3,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    weight_decay: float | None = None,
    schedule: str = "constant",
    steps: int = 1,
) -> keras.optimizers.Optimizer:
    """Adam, with a schedule over the run.

    Args:
        learning_rate: Learning rate at the start.
        epsilon: Added to the root of the mean squared gradient.
        clip_norm: Largest norm of a meta-gradient. Defaults to `None`: any.
        weight_decay: Share of the kernels that a meta-step takes off, times the learning rate
            (AdamW). Defaults to `None`: nothing.
        schedule: `"constant"`, or `"cosine"`: down to 0 at the end of the run.
        steps: Meta-steps of the run.
    """
    for name, value in (("learning_rate", learning_rate), ("epsilon", epsilon)):
        if value <= 0:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a number above 0. Received: {name}={value}"
            )
    if schedule not in ("constant", "cosine"):
        raise ValueError(
            "Invalid value for `schedule`. Expected 'constant' or 'cosine'. "
            f"Received: schedule={schedule!r}"
        )
    rate = learning_rate
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=max(steps, 1))
    return keras.optimizers.Adam(
        rate,
        epsilon=epsilon,
        global_clipnorm=clip_norm or None,
        weight_decay=weight_decay or None,
    )
