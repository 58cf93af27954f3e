"""The Keras model that users train: start reading here."""

from keras_imaml.learner.evaluation import Evaluation as Evaluation
from keras_imaml.learner.evaluation import evaluate as evaluate
from keras_imaml.learner.meta_learner import MetaLearner as MetaLearner
