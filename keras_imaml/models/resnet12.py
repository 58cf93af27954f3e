"""The residual network of twelve convolutions of the few-shot literature."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_imaml._utils.validation import check_choice, check_integer
from keras_imaml.layers import TaskBatchNormalization
from keras_imaml.models.head import head

_POOLS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
_SLOPE = 0.1  # of the leaky activation below zero


def ResNet12(  # noqa: N802
    classes: int,
    input_shape: tuple[int, int, int] = (84, 84, 3),
    filters: Sequence[int] = (64, 160, 320, 640),
    downsample: str = "max",
    activation: Any = None,
    tied_head: bool = False,
    cosine: bool = False,
    centered: bool = False,
    fixed_statistics: bool = False,
    dtype: Any = None,
    name: str = "resnet12",
) -> keras.Model:
    """Four residual stages of three convolutions, and a linear head on their mean.

    A stage adds three 3 x 3 convolutions and a 1 x 1 convolution, each normalized. The activated
    sum is pooled, which halves the image. Normalization uses the examples of the task.

    Args:
        classes: Number of logits.
        input_shape: `(height, width, channels)` of an image, at least 2 pixels a side for every
            stage that halves it. Channels are last, whatever `keras.config.image_data_format()`
            says. Defaults to `(84, 84, 3)`.
        filters: Features of the convolutions of each stage. Defaults to `(64, 160, 320, 640)`, the
            wide network of Lee et al.; `(64, 128, 256, 512)` is common too.
        downsample: How a stage halves the image: `"max"` or `"average"`. Defaults to `"max"`.
        activation: Any Keras activation. Defaults to `None`: leaky ReLU of slope 0.1.
        tied_head: Whether the head is a `keras_imaml.layers.TiedDense`, whose classes start a task
            equal. Defaults to `False`.
        cosine: Whether the head sees only the direction of an image's features. They are scaled to
            length 10, and the last stage has no activation, so that features have both signs. The
            weights of each class have length 1, unless the head is tied. Defaults to `False`.
        centered: Whether a `keras_imaml.layers.Centering` comes before the head. Use it with
            `MetaLearner(transductive=True)`: the mean of a few support examples is a poor estimate
            of the queries' mean. Defaults to `False`.
        fixed_statistics: Whether every task is normalized by the statistics that
            `keras_imaml.record_statistics` stores, instead of those of its own examples. Defaults
            to `False`.
        dtype: The layers' dtype or policy. Defaults to Keras' global policy.
        name: The model's name. Defaults to `"resnet12"`.

    Returns:
        A functional model from images to logits. The default has 12.4 million weights and a head;
        adapt the head alone (`MetaLearner(..., adapt="head")`) where all of them are too many.

    Example:

    ```python
    network = ki.models.ResNet12(5, input_shape=(32, 32, 3))
    learner = ki.MetaLearner(network, ki.IMAML(), adapt="head")
    ```

    References:
        Mishra et al., 2018 (SNAIL), Oreshkin et al., 2018 (TADAM), Lee et al., 2019 (MetaOptNet);
        without their dropout and DropBlock.
    """
    check_integer("classes", classes, minimum=1)
    check_choice("downsample", downsample, tuple(_POOLS))
    stages = [check_integer("filters", number, minimum=1) for number in filters]
    if not stages:
        raise ValueError(
            "Invalid value for `filters`. Expected one number for each stage. "
            f"Received: filters={filters!r}"
        )
    if len(input_shape) != 3 or min(input_shape[:2]) < 2 ** len(stages):
        raise ValueError(
            "Invalid value for `input_shape`. Expected (height, width, channels), with at least "
            f"{2 ** len(stages)} pixels a side, which {len(stages)} stages halve. "
            f"Received: input_shape={input_shape}"
        )
    variable_dtype = keras.dtype_policies.get(dtype).variable_dtype
    inputs = keras.Input(input_shape, dtype=variable_dtype)

    def normalization(name: str) -> keras.Layer:
        return TaskBatchNormalization(fixed=fixed_statistics, dtype=dtype, name=name)

    x = inputs
    for number, features in enumerate(stages, start=1):
        end = "linear" if cosine and number == len(stages) else activation
        x = _stage(x, features, f"stage_{number}", (activation, end), normalization, dtype)
        x = _POOLS[downsample](
            2, data_format="channels_last", dtype=dtype, name=f"stage_{number}_pool"
        )(x)
    mean = "mean" if cosine or centered else "features"
    x = keras.layers.GlobalAveragePooling2D("channels_last", dtype=dtype, name=mean)(x)
    # In mixed precision the logits, and the weights that adapt, keep the weights' precision.
    return keras.Model(
        inputs, head(x, classes, tied_head, cosine, variable_dtype, centered), name=name
    )


def _stage(
    x: Any,
    features: int,
    name: str,
    activations: tuple[Any, Any],
    normalization: Callable[[str], keras.Layer],
    dtype: Any,
) -> Any:
    def normalized(x: Any, size: int, part: str) -> Any:
        # The normalization has an offset of its own.
        x = keras.layers.Conv2D(
            features,
            size,
            padding="same",
            data_format="channels_last",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=dtype,
            name=f"{name}_conv_{part}",
        )(x)
        return normalization(f"{name}_norm_{part}")(x)

    def activated(x: Any, part: str, activation: Any) -> Any:
        label = f"{name}_activation_{part}"
        if activation is None:
            return keras.layers.LeakyReLU(_SLOPE, dtype=dtype, name=label)(x)
        return keras.layers.Activation(activation, dtype=dtype, name=label)(x)

    within, end = activations
    shortcut = normalized(x, 1, "shortcut")
    for part in ("1", "2"):
        x = activated(normalized(x, 3, part), part, within)
    x = keras.layers.Add(dtype=dtype, name=f"{name}_sum")([normalized(x, 3, "3"), shortcut])
    return activated(x, "3", end)
