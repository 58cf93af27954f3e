"""The four-layer convolutional network of the few-shot literature."""

from typing import Any

import keras

from keras_imaml._utils.validation import check_choice, check_integer
from keras_imaml.layers import TaskBatchNormalization
from keras_imaml.models.head import head

_BLOCKS = 4  # as in the literature; tests have fewer


def Conv4(  # noqa: N802
    classes: int,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    filters: int = 64,
    downsample: str = "stride",
    activation: str = "relu",
    tied_head: bool = False,
    cosine: bool = False,
    centered: bool = False,
    fixed_statistics: bool = False,
    dtype: Any = None,
    name: str = "conv4",
) -> keras.Model:
    """Four blocks of convolution, normalization and activation, and a linear head.

    Each block halves the image.

    Args:
        classes: Number of logits.
        input_shape: `(height, width, channels)` of an image, whatever
            `keras.config.image_data_format()` says. Defaults to `(28, 28, 1)`.
        filters: Features of each convolution: 64 on Omniglot, 32 on mini-ImageNet in the
            literature. Defaults to `64`.
        downsample: `"stride"`: convolutions with stride 2 (Omniglot); `"average"` or `"max"`:
            pooling after the activation (mini-ImageNet). Defaults to `"stride"`.
        activation: Any Keras activation. Defaults to `"relu"`.
        tied_head: Whether the head is a `keras_imaml.layers.TiedDense`, whose classes start a task
            equal. Defaults to `False`.
        cosine: Whether the head sees only the direction of an image's features. They are scaled to
            length 10, and the last block has no activation, so that features have both signs. The
            weights of each class have length 1, unless the head is tied. Defaults to `False`.
        centered: Whether a `keras_imaml.layers.Centering` comes before the head. Use it with
            `MetaLearner(transductive=True)`: the mean of a few support examples is a poor estimate
            of the queries' mean. Defaults to `False`.
        fixed_statistics: Whether every task is normalized by the statistics that
            `keras_imaml.record_statistics` stores, instead of those of its own examples. Defaults
            to `False`.
        dtype: The layers' dtype or policy. Defaults to Keras' global policy.
        name: The model's name. Defaults to `"conv4"`.

    Returns:
        A functional model from images to logits. With 64 filters, `(28, 28, 1)` and 5 classes it
        has 113,221 weights.

    Example:

    ```python
    network = ki.models.Conv4(5, input_shape=(84, 84, 3), filters=32, downsample="average")
    ```

    References:
        Vinyals et al., 2016; Finn et al., 2017; Rajeswaran et al., 2019, section 4; `cosine` as in
        Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, 2018.
    """
    check_integer("classes", classes, minimum=1)
    check_integer("filters", filters, minimum=1)
    check_choice("downsample", downsample, ("stride", "average", "max"))
    if len(input_shape) != 3 or (downsample != "stride" and min(input_shape[:2]) < 16):
        raise ValueError(
            "Invalid value for `input_shape`. Expected (height, width, channels), with at least "
            "16 pixels a side where pooling halves them. "
            f"Received: input_shape={input_shape} with downsample={downsample!r}"
        )
    pools = {"average": keras.layers.AveragePooling2D, "max": keras.layers.MaxPooling2D}
    variable_dtype = keras.dtype_policies.get(dtype).variable_dtype
    inputs = keras.Input(input_shape, dtype=variable_dtype)
    x = inputs
    for block in range(1, _BLOCKS + 1):
        x = keras.layers.Conv2D(
            filters,
            3,
            strides=2 if downsample == "stride" else 1,
            padding="same",
            data_format="channels_last",
            dtype=dtype,
            name=f"conv_{block}",
        )(x)
        x = TaskBatchNormalization(fixed=fixed_statistics, dtype=dtype, name=f"norm_{block}")(x)
        if block < _BLOCKS or not cosine:
            x = keras.layers.Activation(activation, dtype=dtype, name=f"activation_{block}")(x)
        if downsample != "stride":
            x = pools[downsample](
                2, data_format="channels_last", dtype=dtype, name=f"pool_{block}"
            )(x)
    # In mixed precision the logits, and the weights that adapt, keep the weights' precision.
    return keras.Model(
        inputs, head(x, classes, tied_head, cosine, variable_dtype, centered), name=name
    )
