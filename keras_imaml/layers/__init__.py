"""Layers that stay correct when weights differ between tasks."""

from keras_imaml.layers.centering import Centering as Centering
from keras_imaml.layers.task_batch_normalization import (
    TaskBatchNormalization as TaskBatchNormalization,
)
from keras_imaml.layers.tied_dense import TiedDense as TiedDense
from keras_imaml.layers.view import View as View
