"""Networks of the few-shot literature."""

from keras_imaml.models.conv4 import Conv4 as Conv4
from keras_imaml.models.mlp import MLP as MLP
from keras_imaml.models.resnet12 import ResNet12 as ResNet12
