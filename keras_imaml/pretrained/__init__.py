"""Trained learners that come with the package."""

from keras_imaml.pretrained.cards import NAMES as NAMES
from keras_imaml.pretrained.cards import card as card
from keras_imaml.pretrained.learners import load as load
