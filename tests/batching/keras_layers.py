"""Layers of Keras whose weights differ between tasks: the shape of an input, and the call."""

from keras import layers

import keras_imaml as ki

LINE, IMAGE, VOLUME, VECTOR = (6, 2), (6, 6, 2), (4, 4, 4, 2), (4,)


def attend(layer):
    return lambda x: layer(x, x)


def attend_list(layer):
    return lambda x: layer([x, x])


# name: (shape of an input, what is applied to it)
VECTORIZED = {
    "dense": (VECTOR, lambda d: layers.Dense(3, activation="tanh", dtype=d)),
    "einsum_dense": (LINE, lambda d: layers.EinsumDense("abc,cd->abd", (6, 3), dtype=d)),
    "conv_1d": (LINE, lambda d: layers.Conv1D(3, 3, dtype=d)),
    "conv_1d_causal": (LINE, lambda d: layers.Conv1D(3, 3, padding="causal", dtype=d)),
    "conv_2d": (IMAGE, lambda d: layers.Conv2D(3, 3, strides=2, padding="same", dtype=d)),
    "depthwise_1d": (LINE, lambda d: layers.DepthwiseConv1D(3, depth_multiplier=2, dtype=d)),
    "depthwise_2d": (IMAGE, lambda d: layers.DepthwiseConv2D(3, depth_multiplier=2, dtype=d)),
    "depthwise_2d_same": (
        IMAGE,
        lambda d: layers.DepthwiseConv2D(3, strides=2, padding="same", dtype=d),
    ),
    "separable_1d": (LINE, lambda d: layers.SeparableConv1D(3, 3, dtype=d)),
    "separable_2d": (IMAGE, lambda d: layers.SeparableConv2D(3, 3, padding="same", dtype=d)),
    "transposed_1d": (LINE, lambda d: layers.Conv1DTranspose(3, 3, strides=2, dtype=d)),
    "transposed_2d": (IMAGE, lambda d: layers.Conv2DTranspose(3, 3, dtype=d)),
    "transposed_2d_same": (
        IMAGE,
        lambda d: layers.Conv2DTranspose(3, 3, strides=2, padding="same", dtype=d),
    ),
    "attention": (LINE, lambda d: attend(layers.MultiHeadAttention(2, 2, dtype=d))),
    "grouped_attention": (LINE, lambda d: attend(layers.GroupQueryAttention(2, 4, 2, dtype=d))),
    "additive_attention": (LINE, lambda d: attend_list(layers.AdditiveAttention(dtype=d))),
    "task_batch_normalization": (IMAGE, lambda d: ki.layers.TaskBatchNormalization(dtype=d)),
    "layer_normalization": (IMAGE, lambda d: layers.LayerNormalization(dtype=d)),
    "group_normalization": (IMAGE, lambda d: layers.GroupNormalization(2, dtype=d)),
    "rms_normalization": (IMAGE, lambda d: layers.RMSNormalization(dtype=d)),
    "unit_normalization": (IMAGE, lambda d: layers.UnitNormalization(dtype=d)),
    "prelu": (IMAGE, lambda d: layers.PReLU(shared_axes=[1, 2], dtype=d)),
    "gru": (LINE, lambda d: layers.GRU(3, dtype=d)),
    "lstm": (LINE, lambda d: layers.LSTM(3, dtype=d)),
    "simple_rnn": (LINE, lambda d: layers.SimpleRNN(3, return_sequences=True, dtype=d)),
    "bidirectional": (LINE, lambda d: layers.Bidirectional(layers.GRU(3, dtype=d), dtype=d)),
    "time_distributed": (
        IMAGE,
        lambda d: layers.TimeDistributed(layers.Dense(3, dtype=d), dtype=d),
    ),
    "max_pooling_1d": (LINE, lambda d: layers.MaxPooling1D(2, dtype=d)),
    "max_pooling_2d": (IMAGE, lambda d: layers.MaxPooling2D(2, dtype=d)),
    "average_pooling_2d": (IMAGE, lambda d: layers.AveragePooling2D(2, dtype=d)),
    "max_pooling_3d": (VOLUME, lambda d: layers.MaxPooling3D(2, dtype="float32")),
    "global_max_pooling": (IMAGE, lambda d: layers.GlobalMaxPooling2D(dtype=d)),
    "up_sampling_2d": (IMAGE, lambda d: layers.UpSampling2D(2, dtype=d)),
    "zero_padding": (IMAGE, lambda d: layers.ZeroPadding2D(1, dtype=d)),
    "cropping": (IMAGE, lambda d: layers.Cropping2D(1, dtype=d)),
    "permute": (LINE, lambda d: layers.Permute((2, 1), dtype=d)),
    "softmax": (LINE, lambda d: layers.Softmax(dtype=d)),
    "up_sampling_2d_bilinear": (
        IMAGE,
        lambda d: layers.UpSampling2D(2, interpolation="bilinear", dtype=d),
    ),
}
LOOPS = {
    "conv_3d": (VOLUME, lambda d: layers.Conv3D(3, 3, dtype=d)),
    "transposed_3d": (VOLUME, lambda d: layers.Conv3DTranspose(3, 3, dtype=d)),
}
