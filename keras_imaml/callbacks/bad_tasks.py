"""Training ends where too many tasks go wrong."""

from typing import Any

import keras

from keras_imaml.validation import check_number


class StopOnBadTasks(keras.callbacks.Callback):
    """Stop `fit` with advice when too many tasks of an epoch hold NaN or infinity.

    A bad task is left out of the meta-gradient and counted: a few do no harm. Many of them mean
    that data, weights or the inner loop are broken, and training on would only take time.

    Args:
        share: The largest share of bad tasks that is put up with; 1 for any. Defaults to `0.5`.

    Raises:
        ValueError: From `fit`, before the end of the epoch, so that `Checkpoints` keeps the last
            good one.

    Example:

    ```python
    learner.fit(tasks, steps_per_epoch=100, callbacks=[ki.callbacks.StopOnBadTasks(0.1)])
    ```
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = check_number("share", share, minimum=0.0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the share of bad tasks since the start of the epoch."""
        bad = float((logs or {}).get("bad_tasks", 0.0))
        if bad > self.share:
            raise ValueError(
                f"Training has stopped at step {int(self.model.optimizer.iterations)}: "
                f"{100 * bad:.0f} % of the tasks of this epoch hold NaN or infinity, more than "
                f"{100 * self.share:.0f} %. Look at the inputs; lower the inner learning rate or "
                "raise `proximal_strength` if the inner loop diverges; lower the outer learning "
                "rate or clip the meta-gradient (`global_clipnorm`) if it went well before."
            )
