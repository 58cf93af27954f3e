"""Subtract the mean features of the current task."""

from typing import Any

import keras

from keras_imaml.layers.task_batch_normalization import TaskBatchNormalization


@keras.saving.register_keras_serializable(package="keras_imaml")
class Centering(TaskBatchNormalization):
    """Subtract the mean of the examples at hand, feature by feature. It has no learned weights.

    What all images of a task share is removed before a head sees the features. In a learner the
    mean is that of one task's support or query set, as in `TaskBatchNormalization`.

    Args:
        axis: The axis of the features. Defaults to `-1`.
        fixed: Whether to subtract the mean that `keras_imaml.record_statistics` has left in the
            layer, for every task. Defaults to `False`.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Example:

    ```python
    ki.layers.Centering()(np.array([[1.0, 4.0], [3.0, 8.0]]))  # [[-1, -2], [1, 2]]
    ```
    """

    computes_as = TaskBatchNormalization
    """The class whose fast rule for all tasks at once holds for this layer."""

    def __init__(self, axis: int = -1, fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(axis, center=False, scale=False, fixed=fixed, divide=False, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        # What a batch normalization has beyond them has no effect here.
        config = keras.layers.Layer.get_config(self)
        return {**config, "axis": self.axis, "fixed": self.fixed}


def only_centers(layer: Any) -> bool:
    """Whether a layer is a `Centering`, or the same by another name in a file of before."""
    if not isinstance(layer, TaskBatchNormalization):
        return False
    return not (layer.divide or layer.center or layer.scale)
