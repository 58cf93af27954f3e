"""The layers of Keras that draw random numbers in training: the shape of an input, and the call."""

from keras import layers

LINE, IMAGE, VOLUME, VECTOR = (5, 4), (6, 6, 3), (3, 3, 3, 2), (6,)
RANGE = {"value_range": (0, 1)}


def attend(layer):
    return lambda x: layer([x, x])


def attend_heads(layer):
    return lambda x: layer(x, x)


QUICK = {
    "dropout": (VECTOR, lambda: layers.Dropout(0.5)),
    "spatial_2d": (IMAGE, lambda: layers.SpatialDropout2D(0.5)),
    "alpha": (VECTOR, lambda: layers.AlphaDropout(0.5)),
    "gaussian_noise": (VECTOR, lambda: layers.GaussianNoise(0.5)),
    "attention": (LINE, lambda: attend(layers.Attention(dropout=0.5))),
    "simple_rnn": (LINE, lambda: layers.SimpleRNN(3, recurrent_dropout=0.5)),
    "contrast": (IMAGE, lambda: layers.RandomContrast(0.9)),
}
SLOW = {
    "spatial_1d": (LINE, lambda: layers.SpatialDropout1D(0.5)),
    "spatial_3d": (VOLUME, lambda: layers.SpatialDropout3D(0.5)),
    "gaussian": (VECTOR, lambda: layers.GaussianDropout(0.5)),
    "additive_attention": (LINE, lambda: attend(layers.AdditiveAttention(dropout=0.5))),
    "heads": (LINE, lambda: attend_heads(layers.MultiHeadAttention(2, 2, dropout=0.5))),
    "grouped": (LINE, lambda: attend_heads(layers.GroupQueryAttention(2, 2, 1, dropout=0.5))),
    "lstm": (LINE, lambda: layers.LSTM(3, dropout=0.5, recurrent_dropout=0.5)),
    "gru": (LINE, lambda: layers.GRU(3, dropout=0.5)),
    "conv_lstm": ((3, 6, 6, 3), lambda: layers.ConvLSTM2D(2, 2, dropout=0.5)),
    "bidirectional": (LINE, lambda: layers.Bidirectional(layers.GRU(3, dropout=0.5))),
    "cells": (
        LINE,
        lambda: layers.RNN(
            [layers.GRUCell(3, dropout=0.5), layers.GRUCell(2, recurrent_dropout=0.5)]
        ),
    ),
    "time_distributed": (LINE, lambda: layers.TimeDistributed(layers.Dropout(0.5))),
    "flip": (IMAGE, lambda: layers.RandomFlip()),
    "rotation": (IMAGE, lambda: layers.RandomRotation(0.3)),
    "translation": (IMAGE, lambda: layers.RandomTranslation(0.3, 0.3)),
    "zoom": (IMAGE, lambda: layers.RandomZoom(0.4)),
    "brightness": (IMAGE, lambda: layers.RandomBrightness(0.5, **RANGE)),
    "crop": (IMAGE, lambda: layers.RandomCrop(3, 3)),
    "shear": (IMAGE, lambda: layers.RandomShear(0.4, 0.4)),
    "perspective": (IMAGE, lambda: layers.RandomPerspective(1.0, 0.4)),
    "color_degeneration": (IMAGE, lambda: layers.RandomColorDegeneration(0.9, **RANGE)),
    "color_jitter": (
        IMAGE,
        lambda: layers.RandomColorJitter(
            brightness_factor=0.5, saturation_factor=(0.2, 0.9), hue_factor=0.5, **RANGE
        ),
    ),
    "hue": (IMAGE, lambda: layers.RandomHue(0.5, **RANGE)),
    "saturation": (IMAGE, lambda: layers.RandomSaturation((0.1, 0.9), **RANGE)),
    "sharpness": (IMAGE, lambda: layers.RandomSharpness(0.9, **RANGE)),
    "grayscale": (IMAGE, lambda: layers.RandomGrayscale(0.5)),
    "invert": (IMAGE, lambda: layers.RandomInvert(0.5, **RANGE)),
    "posterization": (IMAGE, lambda: layers.RandomPosterization(3, **RANGE)),
    "erasing": (IMAGE, lambda: layers.RandomErasing(1.0, scale=(0.2, 0.4), **RANGE)),
    "blur": (IMAGE, lambda: layers.RandomGaussianBlur(1.0, 3, sigma=(0.1, 2.0), **RANGE)),
    "elastic": (IMAGE, lambda: layers.RandomElasticTransform(1.0, scale=1.0, **RANGE)),
    "mix_up": (IMAGE, lambda: layers.MixUp(0.5)),
    "cut_mix": (IMAGE, lambda: layers.CutMix(0.5)),
    "solarization": (IMAGE, lambda: layers.Solarization(threshold_factor=0.5, **RANGE)),
}
FEW_CHOICES = ("crop", "flip", "grayscale", "invert", "posterization")
"""Of which two tasks of a few examples may draw the same."""
