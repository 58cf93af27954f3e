"""What is learned: initial weights, proximal strengths and inner learning rates."""

from keras_imaml.meta_parameters.learning_rate import LearningRate as LearningRate
from keras_imaml.meta_parameters.parameters import Parameters as Parameters
from keras_imaml.meta_parameters.proximal_strength import ProximalStrength as ProximalStrength
