"""Algorithms: from a meta-batch to a meta-gradient."""

from keras_imaml.algorithms.algorithm import Algorithm as Algorithm
from keras_imaml.algorithms.algorithm import MetaGradient as MetaGradient
from keras_imaml.algorithms.imaml import IMAML as IMAML
from keras_imaml.algorithms.maml import MAML as MAML
from keras_imaml.algorithms.released_imaml import ReleasedIMAML as ReleasedIMAML
from keras_imaml.algorithms.reptile import Reptile as Reptile
from keras_imaml.algorithms.self_training import SelfTraining as SelfTraining
from keras_imaml.algorithms.supervised import Supervised as Supervised
